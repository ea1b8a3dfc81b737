/* Sighting: what is known of a usual frame that was read; see bridge.route.Sighting. */

#include "native.h"
#include <structmember.h>

#define OLDEST_EVENT (7 * 24 * 3600 * 1000LL) /* those of bridge/route.py */
#define NEWEST_EVENT (5 * 60 * 1000LL)

static PyObject *s_reread;

static void sighting_free(Sighting *self) {
    Py_XDECREF(self->way);
    Py_XDECREF(self->raw);
    Py_XDECREF(self->own);
    Py_XDECREF(self->key);
    Py_XDECREF(self->pairs);
    Py_XDECREF(self->value);
    Py_XDECREF(self->number);
    Py_XDECREF(self->at);
    Py_XDECREF(self->both);
    PyObject_Free(self);
}

/* meta and data as the exact way reads them; hardly ever asked for. */
static PyObject *sighting_part(Sighting *self, void *part) {
    if (self->both == NULL) {
        PyObject *found = PyObject_CallMethodOneArg(self->way, s_reread, self->raw);
        if (found == NULL)
            return NULL;
        if (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) != 2) {
            Py_DECREF(found);
            PyErr_SetString(PyExc_TypeError, "expected (meta, data)");
            return NULL;
        }
        self->both = found;
    }
    return Py_NewRef(PyTuple_GET_ITEM(self->both, part == NULL ? 0 : 1));
}

/* See bridge.route.Sighting.order. */
long long sighting_order(const Sighting *self, long long received) {
    long long at = self->at == Py_None ? 0 : PyLong_AsLongLong(self->at);
    return received - OLDEST_EVENT <= at && at <= received + NEWEST_EVENT ? at : 0;
}

static PyObject *sighting_order_method(Sighting *self, PyObject *received) {
    long long when = PyLong_AsLongLong(received);
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(sighting_order(self, when));
}

static PyMethodDef sighting_methods[] = {
    {"order", (PyCFunction)sighting_order_method, METH_O, "See bridge.route.Sighting.order."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sighting_parts[] = {
    {"meta", (getter)sighting_part, NULL, "What the envelope says, as `bridge.envelope.Envelope.meta`.", NULL},
    {"data", (getter)sighting_part, NULL, "The payload, as `bridge.codec.Codec.decode_data` reads it.", (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef sighting_members[] = {
    {"way", T_OBJECT_EX, offsetof(Sighting, way), READONLY, NULL},
    {"own", T_OBJECT_EX, offsetof(Sighting, own), READONLY, NULL},
    {"key", T_OBJECT_EX, offsetof(Sighting, key), READONLY, NULL},
    {"pairs", T_OBJECT, offsetof(Sighting, pairs), READONLY, NULL},
    {"value", T_OBJECT_EX, offsetof(Sighting, value), READONLY, NULL},
    {"number", T_OBJECT_EX, offsetof(Sighting, number), READONLY, NULL},
    {"at", T_OBJECT_EX, offsetof(Sighting, at), READONLY, NULL},
    {"traits", T_INT, offsetof(Sighting, traits), READONLY, NULL},
    {"named", T_BOOL, offsetof(Sighting, named), READONLY, NULL},
    {"identity", T_ULONGLONG, offsetof(Sighting, identity), READONLY, NULL},
    {"content", T_ULONGLONG, offsetof(Sighting, content), READONLY, NULL},
    {"entity", T_ULONGLONG, offsetof(Sighting, entity), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Sighting_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bridge._native.Sighting",
    .tp_basicsize = sizeof(Sighting),
    .tp_dealloc = (destructor)sighting_free,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "A usual frame that was read; see bridge.route.Sighting.",
    .tp_methods = sighting_methods,
    .tp_members = sighting_members,
    .tp_getset = sighting_parts,
};

bool sighting_prepare(void) {
    return (s_reread = PyUnicode_InternFromString("reread")) != NULL && PyType_Ready(&Sighting_Type) == 0;
}
