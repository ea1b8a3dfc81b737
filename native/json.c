/* Reads a JSON text (RFC 8259) into a list of its values. The text comes from outside: depth and numbers have limits, and
   all reading stops at the NUL behind the text, which no JSON holds. What is not read here, and left to Python: escapes,
   -0, very long numbers, and what is no JSON. */

#include "native.h"

#define DEEPEST 64        /* levels of arrays and objects */
#define LONGEST_NUMBER 80 /* a uint256 has 78 digits */
#define MOST_NODES 200000
#define FEW 24 /* so many members are sorted in place */

/* 1: within a string it goes on; 0: quote, backslash, control character. */
static unsigned char plain[256];

bool buffer_reserve(Buffer *buffer, size_t more) {
    size_t room = buffer->room ? buffer->room : 1024;
    while (room - buffer->size < more)
        room *= 2;
    char *bytes = PyMem_Realloc(buffer->bytes, room);
    if (bytes == NULL)
        return false;
    buffer->bytes = bytes;
    buffer->room = room;
    return true;
}

static const char *space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

/* From behind the opening quote to the closing one; NULL where there is none, or something to be unescaped before. */
static const char *string_end(const char *at, unsigned char *seen) {
    unsigned char all = *seen;
    while (plain[(unsigned char)*at])
        all |= (unsigned char)*at++;
    *seen = all;
    return *at == '"' ? at : NULL;
}

static const char *digits(const char *at) {
    const char *first = at;
    while (*at >= '0' && *at <= '9')
        at++;
    return at == first ? NULL : at;
}

/* The end of a number; NULL where it is none, or left to Python. */
static const char *number_end(const char *at, uint32_t *kind) {
    const char *first = at;
    *kind = K_INTEGER;
    if (*at == '-')
        at++;
    if (*at == '0')
        at++;
    else if ((at = digits(at)) == NULL)
        return NULL;
    if (*at == '.') {
        *kind = K_REAL;
        if ((at = digits(at + 1)) == NULL)
            return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        *kind = K_REAL;
        at++;
        if (*at == '+' || *at == '-')
            at++;
        if ((at = digits(at)) == NULL)
            return NULL;
    }
    if (at - first > LONGEST_NUMBER || (*kind == K_INTEGER && first[0] == '-' && first[1] == '0'))
        return NULL;
    return at;
}

static bool more_nodes(Text *text) {
    if (text->room >= MOST_NODES)
        return false;
    uint32_t room = text->room ? text->room * 2 : 64;
    Node *nodes = PyMem_Realloc(text->nodes, room * sizeof(Node));
    if (nodes == NULL)
        return false;
    text->nodes = nodes;
    text->room = room;
    return true;
}

/* Reads the value that begins at `at`, and all in it; returns where it ends. name: of the member, NULL elsewhere. */
static const char *value(Text *text, const char *at, const char *name, uint32_t length, int depth, unsigned char *seen) {
    if (text->count == text->room && !more_nodes(text))
        return NULL;
    uint32_t place = text->count++;
    Node *node = &text->nodes[place];
    node->name_start = name == NULL ? 0 : (uint32_t)(name - text->text);
    node->name_end = node->name_start + length;
    node->start = (uint32_t)(at - text->text);
    const char *end = NULL;
    switch (*at) {
    case '"':
        node->kind = K_STRING;
        node->start++;
        end = string_end(at + 1, seen);
        if (end == NULL)
            return NULL;
        node->end = (uint32_t)(end - text->text);
        node->next = text->count;
        return end + 1;
    case '{':
    case '[': {
        bool object = *at == '{';
        char closing = object ? '}' : ']';
        node->kind = object ? K_OBJECT : K_ARRAY;
        if (depth >= DEEPEST)
            return NULL;
        at = space(at + 1);
        if (*at == closing) {
            end = at + 1;
            break;
        }
        for (;;) {
            const char *member = NULL;
            uint32_t size = 0;
            if (object) {
                if (*at != '"' || (end = string_end(at + 1, seen)) == NULL)
                    return NULL;
                member = at + 1;
                size = (uint32_t)(end - member);
                at = space(end + 1);
                if (*at != ':')
                    return NULL;
                at = space(at + 1);
            }
            at = value(text, at, member, size, depth + 1, seen);
            if (at == NULL)
                return NULL;
            at = space(at);
            if (*at == closing) {
                end = at + 1;
                break;
            }
            if (*at != ',')
                return NULL;
            at = space(at + 1);
        }
        node = &text->nodes[place]; /* the list may have moved */
        break;
    }
    case 't':
        node->kind = K_BOOLEAN;
        end = strncmp(at, "true", 4) == 0 ? at + 4 : NULL;
        break;
    case 'f':
        node->kind = K_BOOLEAN;
        end = strncmp(at, "false", 5) == 0 ? at + 5 : NULL;
        break;
    case 'n':
        node->kind = K_NULL;
        end = strncmp(at, "null", 4) == 0 ? at + 4 : NULL;
        break;
    default:
        end = number_end(at, &node->kind);
    }
    if (end == NULL)
        return NULL;
    node->end = (uint32_t)(end - text->text);
    node->next = text->count;
    return end;
}

/* Whether the whole text was read. Says nothing of its encoding: see `wide`. */
bool text_read(Text *text, const char *bytes, size_t size) {
    if (!plain['a'])
        for (int byte = 0x20; byte < 256; byte++)
            plain[byte] = byte != '"' && byte != '\\';
    unsigned char seen = 0;
    text->text = bytes;
    text->count = 0;
    const char *end = value(text, space(bytes), NULL, 0, 0, &seen);
    text->wide = seen >= 0x80;
    return end != NULL && space(end) == bytes + size;
}

static int compare(const void *one, const void *other) {
    const Member *a = one, *b = other;
    uint32_t shorter = a->length < b->length ? a->length : b->length;
    int found = memcmp(a->name, b->name, shorter);
    return found ? found : (a->length > b->length) - (a->length < b->length);
}

/* By their bytes, which is the order of code points. */
bool members_sort(Member *members, uint32_t count) {
    if (count > FEW)
        qsort(members, count, sizeof(Member), compare);
    else
        for (uint32_t i = 1; i < count; i++) {
            Member member = members[i];
            uint32_t place = i;
            for (; place > 0 && compare(&members[place - 1], &member) > 0; place--)
                members[place] = members[place - 1];
            members[place] = member;
        }
    for (uint32_t i = 1; i < count; i++)
        if (compare(&members[i - 1], &members[i]) == 0)
            return false;
    return true;
}

bool members_push(Members *stack, Member member) {
    if (stack->count == stack->room) {
        uint32_t room = stack->room ? stack->room * 2 : 64;
        Member *members = PyMem_Realloc(stack->members, room * sizeof(Member));
        if (members == NULL)
            return false;
        stack->members = members;
        stack->room = room;
    }
    stack->members[stack->count++] = member;
    return true;
}

/* Appends the canonical form of a value, see bridge/canonical.py. False where an object has two members of one name. */
bool text_canonical(const Text *text, uint32_t place, Buffer *out, Members *stack) {
    const Node *node = &text->nodes[place];
    const char *bytes = text->text;
    switch (node->kind) {
    case K_STRING:
        return buffer_add(out, bytes + node->start - 1, node->end - node->start + 2);
    case K_ARRAY:
        if (!buffer_byte(out, '['))
            return false;
        for (uint32_t each = place + 1; each < node->next; each = text->nodes[each].next)
            if ((each > place + 1 && !buffer_byte(out, ',')) || !text_canonical(text, each, out, stack))
                return false;
        return buffer_byte(out, ']');
    case K_OBJECT: {
        uint32_t first = stack->count;
        for (uint32_t each = place + 1; each < node->next; each = text->nodes[each].next) {
            const Node *member = &text->nodes[each];
            Member one = {bytes + member->name_start, member->name_end - member->name_start, each};
            if (!members_push(stack, one))
                return false;
        }
        uint32_t end = stack->count;
        bool good = members_sort(stack->members + first, end - first) && buffer_byte(out, '{');
        for (uint32_t i = first; good && i < end; i++) {
            Member one = stack->members[i]; /* what is within may move them */
            const Node *member = &text->nodes[one.node];
            const char *name = one.name - 1, *after = one.name + one.length + 2; /* behind the colon, if nothing is between */
            bool quoted = member->kind == K_STRING;
            good = i == first || buffer_byte(out, ',');
            if (member->kind < K_ARRAY && bytes + member->start - quoted == after)
                good = good && buffer_add(out, name, (size_t)(bytes + member->end + quoted - name));
            else
                good = good && buffer_add(out, name, one.length + 2) && buffer_byte(out, ':') &&
                       text_canonical(text, one.node, out, stack);
        }
        stack->count = first;
        return good && buffer_byte(out, '}');
    }
    default:
        return buffer_add(out, bytes + node->start, node->end - node->start);
    }
}
