/* The compiled form of plain_head.py, which says what a plain head is, and what is found in it.
 *
 * No loop checks for the end of the data: a bytes object ends with a NUL that is not counted, and a NUL is in no class
 * of characters and in no literal, so nothing reads past it. What stopped at an earlier NUL is not plain.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The first 20 digits of the SHA-1 of the other lines of this file, and the module's docstring. */
#define SOURCE "c46a26ef915c9e474eb7"

/* Places in the names that `read` is given: first the fields that are used, then Connection, then those that frame. */
enum { HOST = 0, REQUEST_ID = 4, USED = 9, CONNECTION = USED, UNKNOWN = -1 };

/* Before the fields, the result has method, target and path. */
enum { BEFORE = 3 };

static unsigned char lower[256]; /* of the characters of a field name; 0 of all others */

static PyObject *get, *head;

static int is_target(unsigned char c) { return c > 0x20 && c < 0x7F; }
static int is_blank(unsigned char c) { return c == ' ' || c == '\t'; }

/* Returns what follows `literal`; NULL if that is not what comes. */
static const unsigned char *
skip(const unsigned char *at, const char *literal)
{
    while (*literal)
        if (*at++ != (unsigned char)*literal++)
            return NULL;
    return at;
}

static int
is_named(const unsigned char *name, Py_ssize_t length, const char *expected)
{
    for (Py_ssize_t i = 0; i < length; i++)
        if (lower[name[i]] != (unsigned char)expected[i])
            return 0;
    return 1;
}

/* Returns the end of a value of printable characters and tabs, where "\r\n" stands; NULL if it has no such end. */
static const unsigned char *
value_end(const unsigned char *value)
{
    const unsigned char *end = (const unsigned char *)strchr((const char *)value, '\r');
    int others = 0;
    for (const unsigned char *at = value; at < end; at++) /* without a way out, so that it is vectorized */
        others |= (*at < 0x20 && *at != '\t') || *at > 0x7E;
    return end == NULL || others || end[1] != '\n' ? NULL : end;
}

static Py_ssize_t
place_of(PyObject *names, const unsigned char *name, Py_ssize_t length)
{
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(names); place++) {
        PyObject *known = PyTuple_GET_ITEM(names, place);
        if (PyBytes_GET_SIZE(known) == length && is_named(name, length, PyBytes_AS_STRING(known)))
            return place;
    }
    return UNKNOWN;
}

static PyObject *
text(const unsigned char *begin, Py_ssize_t length)
{
    return PyUnicode_DecodeASCII((const char *)begin, length, NULL);
}

static int
is_id(const unsigned char *begin, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i++)
        if (!Py_ISALNUM(begin[i]) && strchr("._-", begin[i]) == NULL)
            return 0;
    return 0 < length && length <= 128;
}

/* Returns what stands for the value of the field at `place`; `begin` is NULL if there is none. */
static PyObject *
value_of(int place, const unsigned char *begin, Py_ssize_t length)
{
    if (begin == NULL || (place == REQUEST_ID && !is_id(begin, length)))
        return Py_NewRef(Py_None);
    return text(begin, length);
}

static PyObject *
read_head(PyObject *names, Py_ssize_t max_fields, const unsigned char *data, Py_ssize_t size)
{
    const unsigned char *target, *target_end, *begins[USED] = {NULL};
    Py_ssize_t lengths[USED] = {0}, fields = 0;

    PyObject *method = get;
    const unsigned char *at = skip(data, "GET ");
    if (at == NULL) {
        method = head;
        at = skip(data, "HEAD ");
    }
    if (at == NULL)
        Py_RETURN_NONE;
    target = at;
    if (*at != '/')
        Py_RETURN_NONE;
    while (is_target(*at))
        at++;
    target_end = at;
    if ((at = skip(at, " HTTP/1.1\r\n")) == NULL)
        Py_RETURN_NONE;

    while (*at != '\r') {
        const unsigned char *name = at;
        while (lower[*at])
            at++;
        Py_ssize_t name_length = at - name;
        if (name_length == 0 || *at++ != ':' || ++fields > max_fields)
            Py_RETURN_NONE;
        while (is_blank(*at))
            at++;
        const unsigned char *value = at, *end = value_end(at);
        if (end == NULL)
            Py_RETURN_NONE;
        at = end + 2;
        while (end > value && is_blank(end[-1]))
            end--;
        Py_ssize_t place = place_of(names, name, name_length), length = end - value;
        if (place >= 0 && place < USED) {
            if (begins[place] != NULL)
                Py_RETURN_NONE;
            begins[place] = value;
            lengths[place] = length;
        }
        else if (place > CONNECTION)
            Py_RETURN_NONE;
        else if (place == CONNECTION && (length != 10 || !is_named(value, length, "keep-alive")))
            Py_RETURN_NONE;
    }
    if ((at = skip(at, "\r\n")) == NULL || at != data + size || begins[HOST] == NULL)
        Py_RETURN_NONE;

    PyObject *result = PyTuple_New(BEFORE + USED);
    if (result == NULL)
        return NULL;
    PyTuple_SET_ITEM(result, 0, Py_NewRef(method));
    PyTuple_SET_ITEM(result, 1, PyBytes_FromStringAndSize((const char *)target, target_end - target));
    PyTuple_SET_ITEM(result, 2, text(target, target_end - target));
    for (int i = 0; i < USED; i++)
        PyTuple_SET_ITEM(result, BEFORE + i, value_of(i, begins[i], lengths[i]));
    for (int i = 0; i < BEFORE + USED; i++)
        if (PyTuple_GET_ITEM(result, i) == NULL) {
            Py_DECREF(result);
            return NULL;
        }
    return result;
}

/* read(names, max_bytes, max_fields, data): the head of the plain request that `data` is, else None. */
static PyObject *
read_plain(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    int is_valid = count == 4 && PyTuple_Check(args[0]) && PyBytes_Check(args[3]);
    for (Py_ssize_t i = 0; is_valid && i < PyTuple_GET_SIZE(args[0]); i++)
        is_valid = PyBytes_Check(PyTuple_GET_ITEM(args[0], i));
    if (!is_valid)
        return PyErr_Format(PyExc_TypeError, "read takes a tuple of bytes, two numbers and bytes");
    Py_ssize_t max_bytes = PyLong_AsSsize_t(args[1]), max_fields = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (PyBytes_GET_SIZE(args[3]) > max_bytes)
        Py_RETURN_NONE;
    return read_head(args[0], max_fields, (const unsigned char *)PyBytes_AS_STRING(args[3]), PyBytes_GET_SIZE(args[3]));
}

static PyMethodDef methods[] = {{"read", (PyCFunction)(void (*)(void))read_plain, METH_FASTCALL, NULL}, {NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_plain_head", SOURCE, 0, methods};

PyMODINIT_FUNC
PyInit__plain_head(void)
{
    for (const char *c = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"; *c; c++)
        lower[(unsigned char)*c] = (unsigned char)*c;
    for (int c = 'A'; c <= 'Z'; c++)
        lower[c] = (unsigned char)(c - 'A' + 'a');
    if ((get = PyUnicode_InternFromString("GET")) == NULL || (head = PyUnicode_InternFromString("HEAD")) == NULL)
        return NULL;
    return PyModuleDef_Init(&definition);
}
