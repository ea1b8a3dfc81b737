/* Writes values as Avro, by a table of integers that bridge/native.py makes of a schema:

   a place for values   KINDS pairs (index of the branch or -1, shape), by the JSON kind of the value; shape 0: none
   a shape              its code, then  INTEGER: bits   ARRAY, MAP: a place   RECORD: open, count of fields, the fields
   a field              where its name begins among the names, its length, whether it is required, the index of null
                        in its union, a place; a record's fields stand one after the other

   The numbers below are those of bridge/native.py. */

#include "native.h"

enum Shape { S_NONE, S_NULL, S_BOOLEAN, S_INTEGER, S_TEXT, S_RAW, S_ARRAY, S_MAP, S_RECORD };

#define PLACE (2 * KINDS)
#define FIELD (4 + PLACE)
#define MOST_DIGITS 18 /* of integers that need no closer look */

static bool put_long(Buffer *out, int64_t value) {
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    char bytes[10];
    size_t size = 0;
    for (; rest >= 0x80; rest >>= 7)
        bytes[size++] = (char)(rest | 0x80);
    bytes[size++] = (char)rest;
    return buffer_add(out, bytes, size);
}

static bool put_text(Buffer *out, const char *bytes, uint32_t size) {
    return put_long(out, size) && buffer_add(out, bytes, size);
}

/* A value as it was sent: a string with its quotes. */
static bool put_raw(Writer *writer, const Node *node) {
    uint32_t quote = node->kind == K_STRING;
    return put_text(writer->out, writer->text->text + node->start - quote, node->end - node->start + 2 * quote);
}

static bool put_integer(Writer *writer, const Node *node, int32_t bits) {
    const char *at = writer->text->text + node->start, *end = writer->text->text + node->end;
    bool minus = *at == '-';
    at += minus;
    if (end - at > MOST_DIGITS)
        return false;
    int64_t found = 0;
    for (; at < end; at++)
        found = found * 10 + (*at - '0');
    if (minus)
        found = -found;
    if (bits == 32 && (found > INT32_MAX || found < INT32_MIN))
        return false;
    return put_long(writer->out, found);
}

static bool put_value(Writer *writer, const int32_t *place, uint32_t each);

static uint32_t count_of(const Text *text, uint32_t place) {
    uint32_t count = 0;
    for (uint32_t each = place + 1; each < text->nodes[place].next; each = text->nodes[each].next)
        count++;
    return count;
}

/* An array or a map: one block of all, then the end. */
static bool put_many(Writer *writer, const int32_t *place, uint32_t each, bool named) {
    const Text *text = writer->text;
    uint32_t end = text->nodes[each].next, count = count_of(text, each);
    if (count && !put_long(writer->out, count))
        return false;
    for (uint32_t one = each + 1; one < end; one = text->nodes[one].next) {
        const Node *node = &text->nodes[one];
        if (named && !put_text(writer->out, text->text + node->name_start, node->name_end - node->name_start))
            return false;
        if (!put_value(writer, place, one))
            return false;
    }
    return buffer_byte(writer->out, 0);
}

static bool put_value(Writer *writer, const int32_t *place, uint32_t each) {
    const Node *node = &writer->text->nodes[each];
    int32_t index = place[2 * node->kind], offset = place[2 * node->kind + 1];
    if (!offset || (index >= 0 && !put_long(writer->out, index)))
        return false;
    const int32_t *shape = writer->table + offset;
    switch (shape[0]) {
    case S_NULL:
        return true;
    case S_BOOLEAN:
        return buffer_byte(writer->out, writer->text->text[node->start] == 't');
    case S_INTEGER:
        return put_integer(writer, node, shape[1]);
    case S_TEXT:
        return put_text(writer->out, writer->text->text + node->start, node->end - node->start);
    case S_RAW:
        return put_raw(writer, node);
    case S_ARRAY:
    case S_MAP:
        return put_many(writer, shape + 1, each, shape[0] == S_MAP);
    case S_RECORD: {
        uint32_t used = writer->used, slots;
        bool good = avro_record(writer, offset, each, 0, 0, &slots);
        writer->used = used;
        return good;
    }
    default:
        return false;
    }
}

/* The field that a member is; -1: none. Members mostly come in the order of the last time. */
static int32_t field_of(Writer *writer, const int32_t *shape, int32_t *hint, const Node *node) {
    const char *name = writer->text->text + node->name_start;
    int32_t length = (int32_t)(node->name_end - node->name_start), count = shape[2], last = *hint;
    for (int32_t tries = 0, each = last; tries < count; tries++, each = each + 1 < count ? each + 1 : 0) {
        const int32_t *field = shape + 3 + each * FIELD;
        if (field[1] == length && memcmp(writer->names + field[0], name, (size_t)length) == 0) {
            *hint = each;
            return each;
        }
    }
    return -1;
}

static bool put_extensions(Writer *writer, uint32_t first) {
    Members *stack = writer->stack;
    uint32_t count = stack->count - first;
    stack->count = first;
    if (!count)
        return buffer_byte(writer->out, 0);
    Member *members = stack->members + first; /* nothing below pushes */
    if (!members_sort(members, count) || !put_long(writer->out, count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!put_text(writer->out, members[i].name, members[i].length) ||
            !put_raw(writer, &writer->text->nodes[members[i].node]))
            return false;
    return buffer_byte(writer->out, 0);
}

/* Writes the record of an object's members. node: ABSENT where there is none. slots: becomes where the nodes of its fields
   are. skip, other_skip: members that are left out, or 0. */
bool avro_record(Writer *writer, int32_t record, uint32_t node, uint32_t skip, uint32_t other_skip, uint32_t *slots) {
    const Text *text = writer->text;
    const int32_t *shape = writer->table + record;
    int32_t *order = writer->order + record + 3;
    uint32_t count = (uint32_t)shape[2], base = writer->used, first = writer->stack->count, seen = 0;
    if (writer->room - base < count) {
        uint32_t room = (writer->room + count) * 2;
        uint32_t *moved = PyMem_Realloc(writer->slots, room * sizeof(uint32_t));
        if (moved == NULL)
            return false;
        writer->slots = moved;
        writer->room = room;
    }
    memset(writer->slots + base, 0, count * sizeof(uint32_t));
    writer->used += count;
    *slots = base;
    uint32_t end = node == ABSENT ? 0 : text->nodes[node].next;
    for (uint32_t each = node == ABSENT ? 0 : node + 1; each < end; each = text->nodes[each].next) {
        if (each == skip || each == other_skip)
            continue;
        /* There are as many hints as fields; members beyond those share the last. */
        int32_t *hint = order + (seen < count ? seen : count ? count - 1 : 0);
        seen++;
        int32_t found = count ? field_of(writer, shape, hint, &text->nodes[each]) : -1;
        if (found >= 0) {
            if (writer->slots[base + (uint32_t)found])
                return false; /* twice */
            writer->slots[base + (uint32_t)found] = each;
        } else {
            const Node *one = &text->nodes[each];
            Member member = {text->text + one->name_start, one->name_end - one->name_start, each};
            if (!shape[1] || !members_push(writer->stack, member))
                return false;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const int32_t *field = shape + 3 + i * FIELD;
        uint32_t each = writer->slots[base + i];
        if (each ? !put_value(writer, field + 4, each) : field[2] || !put_long(writer->out, field[3]))
            return false;
    }
    return shape[1] ? put_extensions(writer, first) : true;
}
