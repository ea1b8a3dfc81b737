/* Many usual frames through one stage of bridge/pipeline.py or bridge/encoder.py. Each function takes the frames from an index
   on for as long as they are usual, does with each what the Python code there would do, and returns the index where it
   stopped. Each appends to one list exactly once for each frame: by its length the caller tells which frame an exception is
   about. */

#include "native.h"

#define TRIPLE 24 /* bytes of the three hashes in the ledger */

static PyObject *s_gateway, *s_connection, *s_source, *s_raw, *s_received, *s_hint;
static PyObject *s_seen, *s_contents, *s_last, *s_keep, *s_codes, *s_hashes, *s_orders, *s_place, *s_move, *s_frombytes;
static PyObject *s_topics, *s_header, *s_counts, *s_published, *s_seq, *zero;

bool stages_prepare(void) {
    struct {
        PyObject **place;
        const char *text;
    } all[] = {
        {&s_gateway, "gateway"}, {&s_connection, "connection"}, {&s_source, "source"}, {&s_raw, "raw"},
        {&s_received, "received"}, {&s_hint, "hint"}, {&s_seen, "_seen"}, {&s_contents, "_contents"},
        {&s_last, "_last"}, {&s_keep, "keep_unchanged"}, {&s_codes, "codes"}, {&s_hashes, "hashes"},
        {&s_orders, "orders"}, {&s_place, "place"}, {&s_move, "move_to_end"}, {&s_frombytes, "frombytes"},
        {&s_topics, "topics"}, {&s_header, "header"}, {&s_counts, "counts"}, {&s_published, "published"}, {&s_seq, "seq"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((*all[i].place = PyUnicode_InternFromString(all[i].text)) == NULL)
            return false;
    return (zero = PyLong_FromLong(0)) != NULL;
}

/* 1: both are the same text, 0: not, -1: an exception. Takes the reference to `one`. */
static int same(PyObject *one, PyObject *other) {
    if (one == NULL)
        return -1;
    int found = one == other ? 1 : PyObject_RichCompareBool(one, other, Py_EQ);
    Py_DECREF(one);
    return found;
}

/* An attribute that is an integer; -1 with an exception. */
static long long number(PyObject *object, PyObject *name) {
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL)
        return -1;
    long long found = PyLong_AsLongLong(value);
    Py_DECREF(value);
    return found;
}

bool stages_count(PyObject *way, PyObject *name, long long more) {
    PyObject *counts = PyObject_GetAttr(way, s_counts), *sum = NULL;
    bool good = false;
    if (counts != NULL) {
        long long now = number(counts, name);
        if (!PyErr_Occurred() && (sum = PyLong_FromLongLong(now + more)) != NULL)
            good = PyObject_SetAttr(counts, name, sum) == 0;
    }
    Py_XDECREF(sum);
    Py_XDECREF(counts);
    return good;
}

static bool append_bytes(PyObject *bytearray, const void *bytes, Py_ssize_t size) {
    Py_ssize_t before = PyByteArray_GET_SIZE(bytearray);
    if (PyByteArray_Resize(bytearray, before + size) < 0)
        return false;
    memcpy(PyByteArray_AS_STRING(bytearray) + before, bytes, (size_t)size);
    return true;
}

/* Stage 1: reading; `Reader.run` in reader.c goes through the frames */

/* The bytes of a frame, if it is of this gateway and source; NULL: not, or an exception. */
PyObject *stage_raw(PyObject *frame, PyObject *gateway, PyObject *stream) {
    if (same(PyObject_GetAttr(frame, s_gateway), gateway) <= 0 || same(PyObject_GetAttr(frame, s_source), stream) <= 0)
        return NULL;
    return PyObject_GetAttr(frame, s_raw);
}

/* Stage 2: judging */

/* What the window remembers of the frames of one slice, until it is told: identities and contents, as array('Q') has them. */
typedef struct {
    PyObject *identities, *contents;
    Py_ssize_t room;
    Buffer identity, content;
} Slice;

static bool pour(PyObject *array, Buffer *buffer) {
    if (!buffer->size)
        return true;
    PyObject *bytes = PyBytes_FromStringAndSize(buffer->bytes, (Py_ssize_t)buffer->size);
    PyObject *done = bytes == NULL ? NULL : PyObject_CallMethodOneArg(array, s_frombytes, bytes);
    Py_XDECREF(bytes);
    Py_XDECREF(done);
    buffer->size = 0;
    return done != NULL;
}

static bool slice_end(Slice *slice) {
    bool good = slice->identities == NULL || (pour(slice->identities, &slice->identity) && pour(slice->contents, &slice->content));
    Py_CLEAR(slice->identities);
    Py_CLEAR(slice->contents);
    return good;
}

/* The slice of the window that the next frame goes into. */
static bool slice_begin(Slice *slice, PyObject *window, PyObject *now) {
    if (!slice_end(slice))
        return false;
    PyObject *found = PyObject_CallMethodOneArg(window, s_place, now);
    bool good = found != NULL && PyArg_ParseTuple(found, "OOn", &slice->identities, &slice->contents, &slice->room);
    if (good) {
        Py_INCREF(slice->identities);
        Py_INCREF(slice->contents);
    } else
        slice->identities = slice->contents = NULL;
    Py_XDECREF(found);
    return good;
}

/* What stage 2 works on. */
typedef struct {
    PyObject *window, *now, *taught, *lookup, *learn; /* borrowed */
    PyObject *seen, *contents, *last, *codes, *hashes, *orders;
    bool keep_unchanged;
    Slice slice;
} Judge;

/* 1: the window knows nothing of a frame, 0: it does, -1: an exception. */
static int is_new(const Judge *judge, const Sighting *one, PyObject *identity, PyObject *content, PyObject *entity) {
    if (one->traits & IDENTIFIED && PyDict_GetItemWithError(judge->seen, identity) != NULL)
        return 0;
    if (one->traits & MATCHED && PyDict_GetItemWithError(judge->contents, content) != NULL)
        return 0;
    if (one->traits & STATE && !judge->keep_unchanged) {
        PyObject *last = PyDict_GetItemWithError(judge->last, entity);
        if (last != NULL) {
            int equal = PyTuple_Check(last) ? PyObject_RichCompareBool(PyTuple_GET_ITEM(last, 0), content, Py_EQ) : 1;
            if (equal)
                return equal < 0 ? -1 : 0;
        }
    }
    return PyErr_Occurred() ? -1 : 1;
}

static bool remember(Judge *judge, const Sighting *one, PyObject *identity, PyObject *content, PyObject *entity) {
    Slice *slice = &judge->slice;
    if ((slice->identities == NULL || slice->room <= 0) && !slice_begin(slice, judge->window, judge->now))
        return false;
    if (one->traits & IDENTIFIED) {
        if (PyDict_SetItem(judge->seen, identity, content) < 0 ||
            !buffer_add(&slice->identity, (const char *)&one->identity, sizeof one->identity))
            return false;
        slice->room--;
    }
    if (one->traits & MATCHED) {
        PyObject *records = Py_BuildValue("[ii]", 1, 0);
        int failed = records == NULL || PyDict_SetItem(judge->contents, content, records) < 0;
        Py_XDECREF(records);
        if (failed || !buffer_add(&slice->content, (const char *)&one->content, sizeof one->content))
            return false;
    }
    if (one->traits & STATE) {
        PyObject *state = PyTuple_Pack(3, content, judge->now, zero);
        int failed = state == NULL || PyObject_SetItem(judge->last, entity, state) < 0;
        Py_XDECREF(state);
        PyObject *moved = failed ? NULL : PyObject_CallMethodOneArg(judge->last, s_move, entity);
        Py_XDECREF(moved);
        if (moved == NULL)
            return false;
    }
    return true;
}

/* Has the ids of a frame learned, unless they just were. */
static bool learn(const Judge *judge, const Sighting *one, PyObject *gateway) {
    for (Py_ssize_t i = 0; one->pairs != Py_None && i < PyList_GET_SIZE(one->pairs); i++) {
        PyObject *pair = PyList_GET_ITEM(one->pairs, i), *place = PyTuple_Pack(2, gateway, PyTuple_GET_ITEM(pair, 0));
        if (place == NULL)
            return false;
        PyObject *known = PyDict_GetItemWithError(judge->taught, place);
        Py_DECREF(place);
        int equal = known == NULL ? 0 : PyObject_RichCompareBool(known, PyTuple_GET_ITEM(pair, 1), Py_EQ);
        if (PyErr_Occurred())
            return false;
        if (!equal) {
            PyObject *done = PyObject_CallFunctionObjArgs(judge->learn, gateway, pair, NULL);
            Py_XDECREF(done);
            if (done == NULL)
                return false;
        }
    }
    return true;
}

/* The key of a record: what the frame says, else what is known of it, else what there is. */
static PyObject *key_of(const Judge *judge, const Sighting *one, PyObject *frame, PyObject *gateway) {
    if (one->key != Py_None)
        return Py_NewRef(one->key);
    PyObject *hint = PyObject_GetAttr(frame, s_hint);
    int good = hint == NULL ? -1 : PyObject_IsTrue(hint);
    if (good)
        return good < 0 ? (Py_XDECREF(hint), NULL) : hint;
    Py_DECREF(hint);
    PyObject *none = one->own == Py_None ? PyUnicode_FromString("") : NULL;
    if (PyErr_Occurred())
        return NULL;
    PyObject *found = PyObject_CallFunctionObjArgs(judge->lookup, gateway, none ? none : one->own, NULL);
    Py_XDECREF(none);
    good = found == NULL ? -1 : PyObject_IsTrue(found);
    if (good)
        return good < 0 ? (Py_XDECREF(found), NULL) : found;
    Py_DECREF(found);
    return Py_NewRef(one->own != Py_None ? one->own : gateway);
}

static int judge_one(Judge *judge, PyObject *frame, Sighting *one, PyObject *gateway, long long position, PyObject *fresh) {
    PyObject *identity = PyLong_FromUnsignedLongLong(one->identity);
    PyObject *content = PyLong_FromUnsignedLongLong(one->content);
    PyObject *entity = PyLong_FromUnsignedLongLong(one->entity);
    int found = -1;
    if (identity != NULL && content != NULL && entity != NULL && (found = is_new(judge, one, identity, content, entity)) > 0) {
        char code = (char)one->traits;
        unsigned long long hashes[] = {one->identity, one->content, one->entity};
        PyObject *key = NULL;
        found = -1;
        if (remember(judge, one, identity, content, entity) && append_bytes(judge->codes, &code, 1) &&
            append_bytes(judge->hashes, hashes, TRIPLE)) {
            long long order = 0;
            if (one->traits & STATE) {
                long long received = number(frame, s_received);
                order = PyErr_Occurred() ? 0 : sighting_order(one, received);
            }
            if (!PyErr_Occurred() && (!(one->traits & STATE) || append_bytes(judge->orders, &order, sizeof order)) &&
                learn(judge, one, gateway) && (key = key_of(judge, one, frame, gateway)) != NULL) {
                PyObject *place = PyLong_FromLongLong(position), *made = NULL;
                if (place != NULL && (made = PyTuple_Pack(6, place, frame, one, key, Py_False, Py_None)) != NULL &&
                    PyList_Append(fresh, made) == 0)
                    found = 1;
                Py_XDECREF(place);
                Py_XDECREF(made);
                Py_DECREF(key);
            }
        }
    }
    Py_XDECREF(identity);
    Py_XDECREF(content);
    Py_XDECREF(entity);
    return found;
}

/* Whether a frame of a run is of its gateway, connection and source. -1: an exception. */
static int in_run(PyObject *frame, PyObject *gateway, PyObject *connection, PyObject *stream) {
    int found = same(PyObject_GetAttr(frame, s_connection), connection);
    if (found > 0)
        found = same(PyObject_GetAttr(frame, s_gateway), gateway);
    if (found > 0)
        found = same(PyObject_GetAttr(frame, s_source), stream);
    return found;
}

/* judge(window, batch, frames, sightings, index, position, now, stream, taught, lookup, learn, fresh) -> index

   Frames of one connection, as long as each is new in every respect. position: of the frame at the index. */
PyObject *stage_judge(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 12) {
        PyErr_SetString(PyExc_TypeError, "judge takes 12 arguments");
        return NULL;
    }
    PyObject *batch = arguments[1], *frames = arguments[2], *sightings = arguments[3], *stream = arguments[7];
    PyObject *fresh = arguments[11], *gateway = NULL, *connection = NULL, *keep = NULL, *result = NULL;
    Py_ssize_t index = PyLong_AsSsize_t(arguments[4]);
    long long position = PyLong_AsLongLong(arguments[5]);
    Judge judge = {.window = arguments[0], .now = arguments[6], .taught = arguments[8], .lookup = arguments[9],
                   .learn = arguments[10]};
    if (PyErr_Occurred() || !PyList_Check(frames) || !PyList_Check(sightings) || !PyList_Check(fresh) ||
        !PyDict_Check(judge.taught) || index < 0 || index >= PyList_GET_SIZE(frames)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "judge: an argument is of another type");
        return NULL;
    }
    PyObject *first = PyList_GET_ITEM(frames, index);
    if ((judge.seen = PyObject_GetAttr(judge.window, s_seen)) != NULL &&
        (judge.contents = PyObject_GetAttr(judge.window, s_contents)) != NULL &&
        (judge.last = PyObject_GetAttr(judge.window, s_last)) != NULL &&
        (keep = PyObject_GetAttr(judge.window, s_keep)) != NULL &&
        (judge.codes = PyObject_GetAttr(batch, s_codes)) != NULL &&
        (judge.hashes = PyObject_GetAttr(batch, s_hashes)) != NULL &&
        (judge.orders = PyObject_GetAttr(batch, s_orders)) != NULL &&
        (gateway = PyObject_GetAttr(first, s_gateway)) != NULL &&
        (connection = PyObject_GetAttr(first, s_connection)) != NULL && PyDict_Check(judge.seen) &&
        PyDict_Check(judge.contents) && PyDict_Check(judge.last) && PyByteArray_Check(judge.codes) &&
        PyByteArray_Check(judge.hashes) && PyByteArray_Check(judge.orders)) {
        judge.keep_unchanged = PyObject_IsTrue(keep) != 0;
        for (; index < PyList_GET_SIZE(frames) && index < PyList_GET_SIZE(sightings); index++, position++) {
            PyObject *frame = PyList_GET_ITEM(frames, index);
            Sighting *one = (Sighting *)PyList_GET_ITEM(sightings, index);
            if (Py_TYPE(one) != &Sighting_Type || !one->simple || in_run(frame, gateway, connection, stream) <= 0 ||
                judge_one(&judge, frame, one, gateway, position, fresh) <= 0)
                break;
        }
        /* The window is told of the frames before one that failed, too; nobody asks it any more then. */
        PyObject *kind, *value, *trace;
        PyErr_Fetch(&kind, &value, &trace);
        bool told = slice_end(&judge.slice);
        if (kind != NULL)
            PyErr_Restore(kind, value, trace);
        if (told && !PyErr_Occurred())
            result = PyLong_FromSsize_t(index);
    } else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "judge: an attribute is of another type");
    PyMem_Free(judge.slice.identity.bytes);
    PyMem_Free(judge.slice.content.bytes);
    Py_XDECREF(judge.seen);
    Py_XDECREF(judge.contents);
    Py_XDECREF(judge.last);
    Py_XDECREF(judge.codes);
    Py_XDECREF(judge.hashes);
    Py_XDECREF(judge.orders);
    Py_XDECREF(keep);
    Py_XDECREF(gateway);
    Py_XDECREF(connection);
    return result;
}

/* Stage 3: making records, see bridge/encoder.py; the values are written already */

/* What stage 3 works on; what belongs to a way or a time is kept as long as frames share it. */
typedef struct {
    PyObject *records, *owners, *times, *record, *source; /* borrowed */
    long long oldest, newest, until, received;
    PyObject *stream, *received_header;                   /* the first is borrowed */
    PyObject *way, *topics, *header;
    long long published;
} Publish;

static bool way_end(Publish *publish) {
    bool good = publish->way == NULL || stages_count(publish->way, s_published, publish->published);
    Py_CLEAR(publish->way);
    Py_CLEAR(publish->topics);
    Py_CLEAR(publish->header);
    publish->published = 0;
    return good;
}

static bool way_begin(Publish *publish, PyObject *way) {
    if (!way_end(publish))
        return false;
    publish->way = Py_NewRef(way);
    publish->topics = PyObject_GetAttr(way, s_topics);
    publish->header = PyObject_GetAttr(way, s_header);
    return publish->topics != NULL && publish->header != NULL;
}

static PyObject *headers(Publish *publish, const Sighting *one, long long received) {
    if (publish->received_header == NULL || received != publish->received) {
        char digits[24];
        PyObject *text = PyBytes_FromStringAndSize(digits, PyOS_snprintf(digits, sizeof digits, "%lld", received));
        Py_XSETREF(publish->received_header, text == NULL ? NULL : PyTuple_Pack(2, s_received, text));
        Py_XDECREF(text);
        publish->received = received;
        if (publish->received_header == NULL)
            return NULL;
    }
    PyObject *seq = one->number == Py_None ? NULL : PyTuple_Pack(2, s_seq, one->number);
    PyObject *made = PyErr_Occurred() ? NULL : PyList_New(seq == NULL ? 3 : 4);
    if (made == NULL) {
        Py_XDECREF(seq);
        return NULL;
    }
    PyList_SET_ITEM(made, 0, Py_NewRef(publish->header));
    PyList_SET_ITEM(made, 1, Py_NewRef(publish->source));
    PyList_SET_ITEM(made, 2, Py_NewRef(publish->received_header));
    if (seq != NULL)
        PyList_SET_ITEM(made, 3, seq);
    return made;
}

/* Framing and value in one. */
static PyObject *framed(PyObject *framing, PyObject *value) {
    Py_ssize_t before = PyBytes_GET_SIZE(framing), size = PyBytes_GET_SIZE(value);
    PyObject *made = PyBytes_FromStringAndSize(NULL, before + size);
    if (made != NULL) {
        memcpy(PyBytes_AS_STRING(made), PyBytes_AS_STRING(framing), (size_t)before);
        memcpy(PyBytes_AS_STRING(made) + before, PyBytes_AS_STRING(value), (size_t)size);
    }
    return made;
}

/* 1: published, 0: it is not usual, -1: an exception. */
static int publish_one(Publish *publish, PyObject *each) {
    long long position = PyLong_AsLongLong(PyTuple_GET_ITEM(each, 0));
    PyObject *frame = PyTuple_GET_ITEM(each, 1), *key = PyTuple_GET_ITEM(each, 3);
    Sighting *one = (Sighting *)PyTuple_GET_ITEM(each, 2);
    if (PyErr_Occurred())
        return -1;
    if (Py_TYPE(one) != &Sighting_Type || PyTuple_GET_ITEM(each, 4) != Py_False || position < publish->until)
        return 0;
    int stream = same(PyObject_GetAttr(frame, s_source), publish->stream);
    if (stream <= 0)
        return stream;
    PyObject *received = PyObject_GetAttr(frame, s_received), *at = received, *encoded = NULL, *list = NULL;
    long long came = received == NULL ? -1 : PyLong_AsLongLong(received);
    if (!PyErr_Occurred() && one->at != Py_None) {
        long long when = PyLong_AsLongLong(one->at);
        if (when >= publish->oldest && when <= publish->newest)
            at = one->at;
    }
    bool good = !PyErr_Occurred() && (one->way == publish->way || way_begin(publish, one->way)) &&
                (encoded = PyUnicode_AsUTF8String(key)) != NULL && (list = headers(publish, one, came)) != NULL &&
                PyTuple_Check(publish->topics);
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(publish->topics); i++) {
        PyObject *place = PyTuple_GET_ITEM(publish->topics, i), *value = NULL, *record = NULL;
        good = PyTuple_Check(place) && PyTuple_GET_SIZE(place) == 2 && PyBytes_Check(PyTuple_GET_ITEM(place, 1)) &&
               (value = framed(PyTuple_GET_ITEM(place, 1), one->value)) != NULL;
        if (good) {
            PyObject *parts[] = {NULL, PyTuple_GET_ITEM(place, 0), encoded, value, list, at};
            record = PyObject_Vectorcall(publish->record, parts + 1, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
            good = record != NULL && PyList_Append(publish->records, record) == 0 &&
                   PyList_Append(publish->owners, PyTuple_GET_ITEM(each, 0)) == 0;
        }
        Py_XDECREF(value);
        Py_XDECREF(record);
    }
    good = good && PyList_Append(publish->times, received) == 0;
    publish->published += good;
    if (!good && !PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "publish: topics are (name, framing)");
    Py_XDECREF(received);
    Py_XDECREF(encoded);
    Py_XDECREF(list);
    return good ? 1 : -1;
}

/* publish(records, owners, times, fresh, index, oldest, newest, until, stream, record, source) -> index */
PyObject *stage_publish(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 11) {
        PyErr_SetString(PyExc_TypeError, "publish takes 11 arguments");
        return NULL;
    }
    PyObject *fresh = arguments[3];
    Py_ssize_t index = PyLong_AsSsize_t(arguments[4]);
    Publish publish = {.records = arguments[0], .owners = arguments[1], .times = arguments[2], .stream = arguments[8],
                       .record = arguments[9], .source = arguments[10], .oldest = PyLong_AsLongLong(arguments[5]),
                       .newest = PyLong_AsLongLong(arguments[6]), .until = PyLong_AsLongLong(arguments[7])};
    if (PyErr_Occurred() || index < 0 || !PyList_Check(publish.records) || !PyList_Check(publish.owners) ||
        !PyList_Check(publish.times) || !PyList_Check(fresh)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "publish: an argument is of another type");
        return NULL;
    }
    for (; index < PyList_GET_SIZE(fresh); index++) {
        PyObject *each = PyList_GET_ITEM(fresh, index);
        if (!PyTuple_Check(each) || PyTuple_GET_SIZE(each) != 6 || publish_one(&publish, each) <= 0)
            break;
    }
    bool good = !PyErr_Occurred() && way_end(&publish);
    Py_XDECREF(publish.way);
    Py_XDECREF(publish.topics);
    Py_XDECREF(publish.header);
    Py_XDECREF(publish.received_header);
    return good ? PyLong_FromSsize_t(index) : NULL;
}
