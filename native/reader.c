/* Reader: a frame of one gateway kind, read and written as Avro in one go. The counterpart of bridge/route.py's `Ways.sight`
   for usual frames; bridge/native.py makes its tables. */

#include "native.h"

/* A type of frames. The offsets are into the table: of its record, and of lists of paths. A path is two integers: root (0
   meta, 1 data) and place of the field; a list begins with the number of its paths. */
typedef struct {
    const char *name;
    Py_ssize_t length;
    PyObject *way;      /* bridge.route.Way */
    PyObject *entities; /* its dictionary: entity → hash */
    PyObject *seed;
    int32_t record, key, entity, event_time;
    int32_t identity; /* a list of lists */
    int32_t learn;    /* a list: id, key, id, key …; -1: only Python finds them */
    int32_t number;   /* place of seq in meta; -1: there is none */
    int traits;
    int chained; /* frames follow one another, see bridge/continuity.py */
    Py_ssize_t large; /* longer frames are for Python */
    long long received; /* since `run` began */
} Type;

typedef struct {
    PyObject_HEAD
    PyObject *table, *names; /* bytes */
    PyObject *hash, *moment; /* xxhash.xxh3_64_digest, bridge.paths.moment */
    PyObject *types_given;   /* keeps the names and ways alive */
    Type *types;
    Py_ssize_t count, last;  /* the type that came last */
    int32_t meta;
    int nested, private;
    bool busy; /* hash and moment may let another thread run */
    Text text;
    Writer writer;
    Members stack;
    Buffer value, canonical;
    char time[40]; /* the text of the event time that was asked for last, and what it is */
    uint32_t time_length;
    PyObject *at;
} Reader;

static PyObject *s_enter, *s_received;

/* Reader: what a frame says */

static bool names(const Text *text, const Node *node, const char *name, size_t length) {
    return node->name_end - node->name_start == length && memcmp(text->text + node->name_start, name, length) == 0;
}

static const Node *at_path(const Reader *self, const int32_t *path, const uint32_t *roots) {
    uint32_t place = self->writer.slots[roots[path[0]] + (uint32_t)path[1]];
    return place ? &self->text.nodes[place] : NULL;
}

/* Whether a value can be an id: a string with something in it, or an integer. */
static bool says(const Node *node) {
    return node != NULL && ((node->kind == K_STRING && node->end > node->start) || node->kind == K_INTEGER);
}

static PyObject *as_str(const Reader *self, const Node *node) {
    return PyUnicode_DecodeUTF8(self->text.text + node->start, node->end - node->start, NULL);
}

/* The first value of a list of paths that can be an id, as a str; else None. */
static PyObject *first_id(const Reader *self, int32_t list, const uint32_t *roots) {
    const int32_t *paths = self->writer.table + list;
    for (int32_t i = 0; i < paths[0]; i++) {
        const Node *node = at_path(self, paths + 1 + 2 * i, roots);
        if (says(node))
            return as_str(self, node);
    }
    return Py_NewRef(Py_None);
}

/* Puts the first complete identity into a buffer, spelt as bridge/paths.py spells it; false: there is none. */
static bool identity(Reader *self, int32_t list, const uint32_t *roots, Buffer *out) {
    const int32_t *at = self->writer.table + list;
    for (int32_t alternatives = *at++; alternatives > 0; alternatives--) {
        out->size = 0;
        bool whole = true;
        for (int32_t paths = *at++; paths > 0; paths--, at += 2) {
            const Node *node = whole ? at_path(self, at, roots) : NULL;
            if (!says(node)) {
                whole = false;
                continue;
            }
            const char *bytes = self->text.text + node->start;
            size_t size = node->end - node->start;
            if (node->kind == K_INTEGER) {
                whole = buffer_byte(out, 'i') && buffer_add(out, bytes, size) && buffer_byte(out, ';');
                continue;
            }
            size_t characters = 0;
            for (size_t i = 0; i < size; i++)
                characters += ((unsigned char)bytes[i] & 0xC0) != 0x80;
            char head[24];
            int length = PyOS_snprintf(head, sizeof head, "s%zu:", characters);
            whole = buffer_add(out, head, (size_t)length) && buffer_add(out, bytes, size);
        }
        if (whole)
            return true;
    }
    return false;
}

/* The event time as an int, or None; NULL with an exception. */
static PyObject *event_time(Reader *self, int32_t list, const uint32_t *roots) {
    const int32_t *paths = self->writer.table + list;
    for (int32_t i = 0; i < paths[0]; i++) {
        const Node *node = at_path(self, paths + 1 + 2 * i, roots);
        if (node == NULL || (node->kind != K_STRING && node->kind != K_INTEGER))
            continue;
        uint32_t length = node->end - node->start, key = length * 2 + (node->kind == K_STRING);
        const char *bytes = self->text.text + node->start;
        if (key == self->time_length && memcmp(bytes, self->time, length) == 0)
            return Py_NewRef(self->at); /* frames of one burst share it */
        PyObject *value = as_str(self, node);
        if (value != NULL && node->kind == K_INTEGER)
            Py_SETREF(value, PyLong_FromUnicodeObject(value, 10));
        if (value == NULL)
            return NULL;
        PyObject *found = PyObject_CallOneArg(self->moment, value);
        Py_DECREF(value);
        if (found == NULL || found == Py_None) {
            if (found == NULL)
                return NULL;
            Py_DECREF(found);
            continue;
        }
        if (length <= sizeof self->time) {
            memcpy(self->time, bytes, length);
            self->time_length = key;
            Py_SETREF(self->at, Py_NewRef(found));
        }
        return found;
    }
    return Py_NewRef(Py_None);
}

/* (id, key) pairs: a list, or None where the frame teaches nothing. */
static PyObject *pairs(const Reader *self, int32_t list, const uint32_t *roots) {
    const int32_t *paths = self->writer.table + list;
    PyObject *found = NULL;
    for (int32_t i = 0; i < paths[0]; i += 2) {
        const Node *known = at_path(self, paths + 1 + 2 * i, roots), *key = at_path(self, paths + 3 + 2 * i, roots);
        if (!says(known) || !says(key))
            continue;
        PyObject *pair = Py_BuildValue("(NN)", as_str(self, known), as_str(self, key));
        if (pair == NULL || (found == NULL && (found = PyList_New(0)) == NULL) || PyList_Append(found, pair) < 0) {
            Py_XDECREF(pair);
            Py_XDECREF(found);
            return NULL;
        }
        Py_DECREF(pair);
    }
    return found != NULL ? found : Py_NewRef(Py_None);
}

static bool digest(Reader *self, const Buffer *bytes, PyObject *seed, unsigned long long *found) {
    PyObject *text = PyBytes_FromStringAndSize(bytes->bytes, (Py_ssize_t)bytes->size);
    if (text == NULL)
        return false;
    PyObject *arguments[] = {NULL, text, seed};
    PyObject *hash = PyObject_Vectorcall(self->hash, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(text);
    bool good = hash != NULL && PyBytes_Check(hash) && PyBytes_GET_SIZE(hash) == 8;
    *found = 0;
    for (int i = 0; good && i < 8; i++)
        *found = *found << 8 | (unsigned char)PyBytes_AS_STRING(hash)[i];
    if (!good && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "expected a digest of 8 bytes");
    Py_XDECREF(hash);
    return good;
}

static bool entity_hash(const Type *type, PyObject *own, unsigned long long *found) {
    PyObject *hash = PyDict_GetItemWithError(type->entities, own);
    if (hash != NULL) {
        *found = PyLong_AsUnsignedLongLong(hash);
        return !PyErr_Occurred();
    }
    if (PyErr_Occurred() || (hash = PyObject_CallMethodOneArg(type->way, s_enter, own)) == NULL)
        return false;
    *found = PyLong_AsUnsignedLongLong(hash);
    Py_DECREF(hash);
    return !PyErr_Occurred();
}

static Type *type_of(Reader *self, const Node *node) {
    if (node == NULL || node->kind != K_STRING)
        return NULL;
    const char *name = self->text.text + node->start;
    Py_ssize_t length = (Py_ssize_t)(node->end - node->start);
    for (Py_ssize_t tries = 0, each = self->last; tries < self->count; tries++, each = (each + 1) % self->count) {
        Type *type = &self->types[each];
        if (type->length == length && memcmp(type->name, name, (size_t)length) == 0) {
            self->last = each;
            return type;
        }
    }
    return NULL;
}

/* Members of the envelope whose names the exact way changes, or that may hold two members of one name. */
static bool odd_meta(const Reader *self, const Node *node) {
    const char *name = self->text.text + node->name_start;
    uint32_t length = node->name_end - node->name_start;
    return node->kind == K_ARRAY || node->kind == K_OBJECT ||
           (self->nested && ((length >= 9 && memcmp(name, "envelope.", 9) == 0) ||
                             (length >= 5 && memcmp(name, "meta.", 5) == 0)));
}

/* Where type, data and meta of the envelope are; false: it is none, or strange. */
static bool envelope(Reader *self, uint32_t *type, uint32_t *data, uint32_t *meta) {
    const Text *text = &self->text;
    const Node *nodes = text->nodes;
    *type = *data = *meta = 0;
    if (nodes[0].kind != K_OBJECT)
        return false;
    for (uint32_t each = 1; each < nodes[0].next; each = nodes[each].next) {
        uint32_t *part = names(text, &nodes[each], "type", 4)                   ? type
                         : names(text, &nodes[each], "data", 4)                 ? data
                         : self->nested && names(text, &nodes[each], "meta", 4) ? meta
                                                                                : NULL;
        if (part == NULL ? self->nested || odd_meta(self, &nodes[each]) : *part != 0)
            return false;
        if (part != NULL)
            *part = each;
    }
    if (!*data || nodes[*data].kind != K_OBJECT)
        return false;
    if (!self->nested)
        return true;
    if (!*meta || nodes[*meta].kind == K_NULL) {
        *meta = ABSENT;
        return true;
    }
    if (nodes[*meta].kind != K_OBJECT)
        return false;
    for (uint32_t each = *meta + 1; each < nodes[*meta].next; each = nodes[each].next)
        if (odd_meta(self, &nodes[each]))
            return false;
    return true;
}

/* A Sighting; NULL without an exception where the frame is for Python. */
static Sighting *sight(Reader *self, PyObject *raw) {
    if (!PyBytes_CheckExact(raw))
        return NULL;
    uint32_t type_at, data, meta, roots[2];
    Type *type;
    Writer *writer = &self->writer;
    if (!text_read(&self->text, PyBytes_AS_STRING(raw), (size_t)PyBytes_GET_SIZE(raw)) ||
        !envelope(self, &type_at, &data, &meta) || (type = type_of(self, type_at ? &self->text.nodes[type_at] : NULL)) == NULL ||
        PyBytes_GET_SIZE(raw) > type->large)
        return NULL;
    if (self->text.wide) {
        PyObject *all = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), NULL);
        if (all == NULL) {
            PyErr_Clear();
            return NULL;
        }
        Py_DECREF(all);
    }
    writer->used = self->stack.count = 0;
    self->value.size = self->canonical.size = 0;
    if (!avro_record(writer, self->meta, meta, self->nested ? 0 : type_at, self->nested ? 0 : data, &roots[0]) ||
        !avro_record(writer, type->record, data, 0, 0, &roots[1]) ||
        !text_canonical(&self->text, data, &self->canonical, &self->stack))
        return NULL;

    Sighting *found = PyObject_New(Sighting, &Sighting_Type);
    if (found == NULL)
        return NULL;
    found->way = Py_NewRef(type->way);
    found->raw = Py_NewRef(raw);
    found->both = found->pairs = found->number = found->at = found->own = found->key = NULL;
    found->traits = type->traits;
    found->simple = !type->chained && type->learn >= 0;
    found->value = PyBytes_FromStringAndSize(self->value.bytes, (Py_ssize_t)self->value.size);
    const int32_t number[] = {0, type->number};
    const Node *seq = type->number < 0 ? NULL : at_path(self, number, roots);
    found->number = seq == NULL || seq->kind != K_INTEGER
                        ? Py_NewRef(Py_None)
                        : PyBytes_FromStringAndSize(self->text.text + seq->start, (Py_ssize_t)(seq->end - seq->start));
    /* The buffer of the value is free again: it is where the identity is spelt. Of a private frame without one the owner
       would have to be known. */
    bool named = identity(self, type->identity, roots, &self->value);
    found->named = named;
    bool usual = (named || !self->private) && digest(self, &self->canonical, type->seed, &found->content) &&
                 (found->own = first_id(self, type->entity, roots)) != NULL &&
                 entity_hash(type, found->own, &found->entity) &&
                 (!named || digest(self, &self->value, type->seed, &found->identity)) &&
                 (found->key = first_id(self, type->key, roots)) != NULL &&
                 (found->at = event_time(self, type->event_time, roots)) != NULL &&
                 (type->learn < 0 || (found->pairs = pairs(self, type->learn, roots)) != NULL);
    if (usual && !named) {
        found->identity = found->content ^ found->entity;
        if (found->traits & STATE)
            found->traits &= ~IDENTIFIED;
    }
    if (usual && found->value != NULL && found->number != NULL)
        return found;
    Py_DECREF(found);
    return NULL;
}

static PyObject *reader_read(Reader *self, PyObject *raw) {
    if (self->busy)
        Py_RETURN_NONE;
    self->busy = true;
    Sighting *found = sight(self, raw);
    self->busy = false;
    if (found == NULL && PyErr_Occurred())
        return NULL;
    return found == NULL ? Py_NewRef(Py_None) : (PyObject *)found;
}

/* run(frames, index, gateway, stream, found) -> index

   Frames of one gateway as long as they are usual; appends their sightings. Counts them. */
static PyObject *reader_run(Reader *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_ssize_t index = count == 5 ? PyLong_AsSsize_t(arguments[1]) : -1;
    if (count != 5 || index < 0 || !PyList_Check(arguments[0]) || !PyList_Check(arguments[4])) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "run(frames, index, gateway, stream, found)");
        return NULL;
    }
    PyObject *frames = arguments[0];
    if (self->busy)
        return PyLong_FromSsize_t(index);
    self->busy = true;
    for (; index < PyList_GET_SIZE(frames); index++) {
        PyObject *raw = stage_raw(PyList_GET_ITEM(frames, index), arguments[2], arguments[3]);
        Sighting *found = raw == NULL ? NULL : sight(self, raw);
        Py_XDECREF(raw);
        if (found == NULL)
            break;
        int failed = PyList_Append(arguments[4], (PyObject *)found);
        Py_DECREF(found);
        if (failed)
            break;
        self->types[self->last].received++;
    }
    self->busy = false;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        long long received = self->types[i].received;
        self->types[i].received = 0;
        if (received && !PyErr_Occurred() && !stages_count(self->types[i].way, s_received, received))
            break;
    }
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(index);
}

/* Reader: its making */

static int reader_init(Reader *self, PyObject *arguments, PyObject *keywords) {
    PyObject *table, *all_names, *types, *hash, *moment;
    int meta, nested, private;
    if (self->table != NULL || keywords != NULL) {
        PyErr_SetString(PyExc_TypeError, "made twice, or by keywords");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "SSippO!OO", &table, &all_names, &meta, &nested, &private, &PyList_Type, &types, &hash, &moment))
        return -1;
    self->table = Py_NewRef(table);
    self->names = Py_NewRef(all_names);
    self->hash = Py_NewRef(hash);
    self->moment = Py_NewRef(moment);
    self->at = Py_NewRef(Py_None);
    self->types_given = PyList_AsTuple(types);
    if (self->types_given == NULL)
        return -1;
    self->meta = meta;
    self->nested = nested;
    self->private = private;
    self->count = PyTuple_GET_SIZE(self->types_given);
    self->types = PyMem_Calloc((size_t)self->count + 1, sizeof(Type));
    self->writer.order = PyMem_Calloc((size_t)PyBytes_GET_SIZE(table) / sizeof(int32_t) + 1, sizeof(int32_t));
    if (self->types == NULL || self->writer.order == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->writer.table = (const int32_t *)PyBytes_AS_STRING(table);
    self->writer.names = PyBytes_AS_STRING(all_names);
    self->writer.text = &self->text;
    self->writer.out = &self->value;
    self->writer.stack = &self->stack;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Type *type = &self->types[i];
        PyObject *seed;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(self->types_given, i), "y#OO!O!iiiiiiiiin", &type->name, &type->length,
                              &type->way, &PyDict_Type, &type->entities, &PyLong_Type, &seed, &type->record, &type->key,
                              &type->entity, &type->identity, &type->event_time, &type->learn, &type->number,
                              &type->traits, &type->chained, &type->large))
            return -1;
        type->seed = seed;
    }
    return 0;
}

static void reader_free(Reader *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->table);
    Py_XDECREF(self->names);
    Py_XDECREF(self->hash);
    Py_XDECREF(self->moment);
    Py_XDECREF(self->types_given);
    Py_XDECREF(self->at);
    PyMem_Free(self->types);
    PyMem_Free(self->text.nodes);
    PyMem_Free(self->writer.slots);
    PyMem_Free(self->writer.order);
    PyMem_Free(self->stack.members);
    PyMem_Free(self->value.bytes);
    PyMem_Free(self->canonical.bytes);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int reader_traverse(Reader *self, visitproc visit, void *arg) {
    Py_VISIT(self->hash);
    Py_VISIT(self->moment);
    Py_VISIT(self->types_given);
    return 0;
}

static PyMethodDef reader_methods[] = {
    {"run", (PyCFunction)(void (*)(void))reader_run, METH_FASTCALL, "Many frames, see the source."},
    {"read", (PyCFunction)reader_read, METH_O, "A frame (bytes) as a Sighting; None: it is for the exact way."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject Reader_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "bridge._native.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_dealloc = (destructor)reader_free,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Reads the usual frames of one gateway; bridge.native makes it.",
    .tp_traverse = (traverseproc)reader_traverse,
    .tp_methods = reader_methods,
    .tp_init = (initproc)reader_init,
    .tp_new = PyType_GenericNew,
};

bool reader_prepare(void) {
    return (s_received = PyUnicode_InternFromString("received")) != NULL &&
           (s_enter = PyUnicode_InternFromString("enter")) != NULL && PyType_Ready(&Reader_Type) == 0;
}
