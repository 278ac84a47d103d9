/* The compiled reader of plain_fields.py: one walk over a head, in which it copies the fields that pass.
 *
 * No loop checks for the end of the data: a bytes object ends with a NUL that is not counted, and a NUL is in no class
 * of characters and in no literal, so nothing reads past it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The first 20 digits of the SHA-1 of the other lines of this file, and the module's docstring. */
#define SOURCE "e6891df704612bb9179a"

enum { MAX_VALUES = 8, UNKNOWN = -1 };

/* Before the values, the result has the lines and where the head ends. */
enum { BEFORE = 2 };

/* Of the characters of a field name; 0 of all others, and of "_", with which origins may take a name for another. */
static unsigned char lower[256];

/* The names of a table in their order: those of which the value is returned, first the ones that pass and then the ones
 * that are left out; those that are just left out; and those of which one ends the reading. */
struct table {
    PyObject *names;
    Py_ssize_t passed, taken, dropped, max_fields;
};

static Py_ssize_t
place_of(PyObject *names, const unsigned char *name, Py_ssize_t length)
{
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(names); place++) {
        PyObject *known = PyTuple_GET_ITEM(names, place);
        if (PyBytes_GET_SIZE(known) != length)
            continue;
        const unsigned char *expected = (const unsigned char *)PyBytes_AS_STRING(known);
        Py_ssize_t same = 0;
        while (same < length && lower[name[same]] == expected[same])
            same++;
        if (same == length)
            return place;
    }
    return UNKNOWN;
}

/* Returns the end of a value of printable characters and tabs, where "\r\n" stands; NULL if it has no such end, or
 * blanks before it. */
static const unsigned char *
value_end(const unsigned char *value)
{
    const unsigned char *end = (const unsigned char *)strchr((const char *)value, '\r');
    int others = 0;
    for (const unsigned char *at = value; at < end; at++) /* without a way out, so that it is vectorized */
        others |= (*at < 0x20 && *at != '\t') || *at > 0x7E;
    if (end == NULL || others || end[1] != '\n')
        return NULL;
    return end > value && (end[-1] == ' ' || end[-1] == '\t') ? NULL : end;
}

static PyObject *
bytes_or_none(const unsigned char *begin, Py_ssize_t length)
{
    return begin ? PyBytes_FromStringAndSize((const char *)begin, length) : Py_NewRef(Py_None);
}

/* Copies the lines that pass to `out`, which has space for all of them with a blank before each value. Returns the end
 * of the head, NULL if it is not to be read here. */
static const unsigned char *
copy_lines(const struct table *table, const unsigned char *at, unsigned char **out,
           const unsigned char *begins[], Py_ssize_t lengths[])
{
    Py_ssize_t fields = 0;
    while (*at != '\r') {
        const unsigned char *name = at;
        while (lower[*at])
            at++;
        Py_ssize_t name_length = at - name;
        if (name_length == 0 || *at++ != ':' || ++fields > table->max_fields)
            return NULL;
        while (*at == ' ' || *at == '\t')
            at++;
        const unsigned char *value = at, *end = value_end(at);
        if (end == NULL)
            return NULL;
        at = end + 2;
        Py_ssize_t place = place_of(table->names, name, name_length);
        if (place >= table->dropped)
            return NULL;
        if (place >= 0 && place < table->taken) {
            if (begins[place] != NULL)
                return NULL;
            begins[place] = value;
            lengths[place] = end - value;
        }
        if (place < table->passed) { /* and unknown ones */
            memcpy(*out, name, name_length);
            memcpy(*out + name_length, ": ", 2);
            memcpy(*out + name_length + 2, value, at - value);
            *out += name_length + 2 + (at - value);
        }
    }
    return at[1] == '\n' ? at + 2 : NULL;
}

static PyObject *
read_fields(const struct table *table, PyObject *data, Py_ssize_t begin)
{
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(data), *begins[MAX_VALUES] = {NULL};
    Py_ssize_t lengths[MAX_VALUES] = {0};
    PyObject *lines = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data) - begin + table->max_fields);
    if (lines == NULL)
        return NULL;
    unsigned char *first = (unsigned char *)PyBytes_AS_STRING(lines), *out = first;
    const unsigned char *end = copy_lines(table, start + begin, &out, begins, lengths);
    if (end == NULL) {
        Py_DECREF(lines);
        Py_RETURN_NONE;
    }
    PyObject *result = PyTuple_New(BEFORE + table->taken);
    if (result == NULL || _PyBytes_Resize(&lines, out - first) < 0) {
        Py_XDECREF(result);
        Py_XDECREF(lines);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, lines);
    PyTuple_SET_ITEM(result, 1, PyLong_FromSsize_t(end - start));
    for (Py_ssize_t i = 0; i < table->taken; i++)
        PyTuple_SET_ITEM(result, BEFORE + i, bytes_or_none(begins[i], lengths[i]));
    for (Py_ssize_t i = 0; i < BEFORE + table->taken; i++)
        if (PyTuple_GET_ITEM(result, i) == NULL) {
            Py_DECREF(result);
            return NULL;
        }
    return result;
}

/* read(names, passed, taken, dropped, max_fields, data, begin): the lines that pass of the fields that begin at
 * `begin`, where the head ends, and the values of the first `taken` names, None for those that are not there; None if
 * the head is not whole, or has anything that the parser should see. */
static PyObject *
read_passed(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    int is_valid = count == 7 && PyTuple_Check(args[0]) && PyBytes_Check(args[5]);
    for (Py_ssize_t i = 0; is_valid && i < PyTuple_GET_SIZE(args[0]); i++)
        is_valid = PyBytes_Check(PyTuple_GET_ITEM(args[0], i));
    if (!is_valid)
        return PyErr_Format(PyExc_TypeError, "read takes a tuple of bytes, four numbers, bytes and a number");
    struct table table = {args[0], PyLong_AsSsize_t(args[1]), PyLong_AsSsize_t(args[2]), PyLong_AsSsize_t(args[3]),
                          PyLong_AsSsize_t(args[4])};
    Py_ssize_t begin = PyLong_AsSsize_t(args[6]);
    if (PyErr_Occurred())
        return NULL;
    if (begin < 0 || begin > PyBytes_GET_SIZE(args[5]) || table.taken > MAX_VALUES || table.passed > table.taken ||
        table.passed < 0 || table.max_fields < 0 || table.max_fields > 1 << 20)
        return PyErr_Format(PyExc_ValueError, "read got a number out of its range");
    return read_fields(&table, args[5], begin);
}

static PyMethodDef methods[] = {{"read", (PyCFunction)(void (*)(void))read_passed, METH_FASTCALL, NULL}, {NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_plain_fields", SOURCE, 0, methods};

PyMODINIT_FUNC
PyInit__plain_fields(void)
{
    for (const char *c = "!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz"; *c; c++)
        lower[(unsigned char)*c] = (unsigned char)*c;
    for (int c = 'A'; c <= 'Z'; c++)
        lower[c] = (unsigned char)(c - 'A' + 'a');
    return PyModuleDef_Init(&definition);
}
