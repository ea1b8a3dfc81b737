/* The way of a usual frame, natively: what the files here share. See bridge/native.py for what "usual" means.

   Nothing here has an opinion of its own: whatever is not plainly usual is left to the Python code, which is the
   reference. A function that finds such a thing returns false (or stops), and no Python exception is set. */

#ifndef FEEDBRIDGE_NATIVE_H
#define FEEDBRIDGE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

/* What bridge/native.py asks for: one more with each change of what the two say to each other. */
#define INTERFACE 2

#ifndef SOURCES /* a hash of the sources, see hook.py */
#define SOURCES "unknown"
#endif

/* json.c: a JSON text as a list of its values, and its canonical form */

enum Kind { K_NULL, K_BOOLEAN, K_INTEGER, K_REAL, K_STRING, K_ARRAY, K_OBJECT, KINDS };

/* One value. What is in it follows it. Offsets are into the text; 16 MiB is far below what they hold. */
typedef struct {
    uint32_t kind;
    uint32_t start, end;            /* its text; of a string without the quotes */
    uint32_t name_start, name_end;  /* of a member of an object */
    uint32_t next;                  /* the value after it and all that is in it */
} Node;

typedef struct {
    const char *text; /* ends in NUL, as bytes objects do */
    Node *nodes;      /* the first is the whole */
    uint32_t count, room;
    bool wide; /* not all is ASCII */
} Text;

/* Bytes that grow. */
typedef struct {
    char *bytes;
    size_t size, room;
} Buffer;

/* A member of an object on its way to being sorted. */
typedef struct {
    const char *name;
    uint32_t length, node;
} Member;

/* Members of objects within objects: a stack. */
typedef struct {
    Member *members;
    uint32_t count, room;
} Members;

bool text_read(Text *text, const char *bytes, size_t size);
bool text_canonical(const Text *text, uint32_t node, Buffer *out, Members *stack);
bool members_sort(Member *members, uint32_t count); /* false: two have one name */
bool members_push(Members *stack, Member member);
bool buffer_reserve(Buffer *buffer, size_t more);

static inline bool buffer_add(Buffer *buffer, const char *bytes, size_t size) {
    if (buffer->room - buffer->size < size && !buffer_reserve(buffer, size))
        return false;
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
    return true;
}

static inline bool buffer_byte(Buffer *buffer, char byte) { return buffer_add(buffer, &byte, 1); }

/* avro.c: values as Avro, by a table that bridge/native.py makes of a schema */

typedef struct {
    const Text *text;
    const int32_t *table;
    const char *names;
    Buffer *out;
    Members *stack; /* of unknown members */
    uint32_t *slots; /* of records within records: the node of each field, 0 where it is absent */
    uint32_t used, room;
    int32_t *order; /* as long as the table: which field the members of a record were last time */
} Writer;

#define ABSENT UINT32_MAX

bool avro_record(Writer *writer, int32_t record, uint32_t node, uint32_t skip, uint32_t other_skip, uint32_t *slots);

/* Traits, with the values of bridge/dedupe.py. */
#define STATE 0x08
#define IDENTIFIED 0x10
#define MATCHED 0x40

/* sighting.c, reader.c: frames as the window wants them */

/* What bridge.route.Sighting is, of a frame that was read here. */
typedef struct {
    PyObject_HEAD
    PyObject *way, *raw;
    PyObject *own, *key;  /* str or None: the entity and the key that it names itself */
    PyObject *pairs;      /* the ids that it teaches, a list; None: there are none; NULL: only Python finds them */
    PyObject *value;      /* in Avro, without the framing */
    PyObject *number;     /* its seq as bytes, or None */
    PyObject *at;         /* its event time (ms), or None */
    PyObject *both;       /* (meta, data) as Python reads them, once somebody asked */
    unsigned long long identity, content, entity;
    int traits;
    char named;  /* whether it has an identity beside its content */
    bool simple; /* nothing but the window must be asked of it */
} Sighting;

extern PyTypeObject Sighting_Type, Reader_Type;

/* stages.c: many frames through one stage of the pipeline */

#if PY_BIG_ENDIAN
#error "the ledger's numbers are little-endian: such machines have the Python code"
#endif

long long sighting_order(const Sighting *sighting, long long received);
PyObject *stage_raw(PyObject *frame, PyObject *gateway, PyObject *stream);
bool stages_count(PyObject *way, PyObject *name, long long more);
PyObject *stage_judge(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *stage_publish(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* Make what each file needs, once; false with an exception. */
bool sighting_prepare(void);
bool reader_prepare(void);
bool stages_prepare(void);

#endif
