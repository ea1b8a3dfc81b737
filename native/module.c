/* The extension module. */

#include "native.h"

static PyMethodDef functions[] = {
    {"judge", (PyCFunction)(void (*)(void))stage_judge, METH_FASTCALL, "See bridge/pipeline.py."},
    {"publish", (PyCFunction)(void (*)(void))stage_publish, METH_FASTCALL, "See bridge/encoder.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "bridge._native", .m_doc = "The way of a usual frame.", .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void) {
    if (!sighting_prepare() || !reader_prepare() || !stages_prepare())
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddObjectRef(made, "Reader", (PyObject *)&Reader_Type) < 0 ||
        PyModule_AddObjectRef(made, "Sighting", (PyObject *)&Sighting_Type) < 0 ||
        PyModule_AddIntConstant(made, "INTERFACE", INTERFACE) < 0 ||
        PyModule_AddStringConstant(made, "SOURCES", SOURCES) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
