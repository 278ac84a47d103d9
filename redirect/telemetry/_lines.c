/* The compiled form of `_made` in access_log.py, whose `line` says what a line is.
 *
 * A usual record is formatted here; any other one, and whatever is not as expected, is left to `line`. Nothing is
 * written behind a line's end: each part is added as a whole where it fits, and a line that does not fit is not usual.
 *
 * What is called meanwhile may change whatever it knows: the records are those of a copy of the list, a record holds
 * what is in it, and the part of a line and the attributes of the formatter are held while they are read.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

/* The first 20 digits of the SHA-1 of the other lines of this file, and the module's docstring. */
#define SOURCE "41fe9a4b50dc32c7f602"

/* Places in a record and in its head, see record.py, and in the part of a line that a decision determines. */
enum { DECISION, HEAD, REQUEST_ID, TARGET, STARTED, ENDED, CONFIG, OUTCOME, RECORD };
enum { POOL_REQUESTED, METHOD, HOST, CLIENT_IP, AGENT, REFERER, TRACEPARENT, FIELDS };
enum { LEVEL, OPENING, HAS_TARGET, CLOSING, ENDS, DUE, PART };

/* 00-, the trace, -, its parent, -, flags: the digits begin there. */
enum { TRACE = 3, TRACE_DIGITS = 32, SPAN = 36, SPAN_DIGITS = 16, FLAGS = 53, FLAGS_DIGITS = 2, TRACEPARENT_LENGTH = 55 };

enum { TIME = sizeof "2026-11-20T19:43:07" - 1, USUAL_BYTES = 768 };

static const long long MILLISECOND = 1000000; /* nanoseconds */

static PyObject *due_name, *part_name; /* attributes of a decision */

/* What lines of a batch have in common. */
typedef struct {
    PyObject *parts, *tail;
    long long to_wall, milliseconds; /* of `time` */
    char time[TIME + sizeof ".002Z"];
} Batch;

/* A line that is written. What adds to it returns 0 where it cannot, else 1. */
typedef struct {
    char *at, *end;
} Line;

static int
raw(Line *line, const void *bytes, Py_ssize_t count)
{
    if (line->end - line->at < count)
        return 0;
    memcpy(line->at, bytes, count);
    line->at += count;
    return 1;
}

#define LITERAL(line, text) raw(line, text, sizeof(text) - 1)

/* Adds text that is JSON already. */
static int
ascii(Line *line, PyObject *text)
{
    return PyUnicode_Check(text) && PyUnicode_IS_COMPACT_ASCII(text)
        && raw(line, PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text));
}

static int is_escaped(Py_UCS1 c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; }

static int
escape(Line *line, Py_UCS1 c)
{
    static const char digits[] = "0123456789abcdef", short_ones[] = "\"\\\b\t\n\f\r", letters[] = "\"\\btnfr";
    const char *found = c ? strchr(short_ones, c) : NULL;
    char two[] = {'\\', found ? letters[found - short_ones] : '?'};
    char six[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    return found ? raw(line, two, sizeof two) : raw(line, six, sizeof six);
}

static int
escaped(Line *line, const Py_UCS1 *text, Py_ssize_t length)
{
    int escapes = 0;
    for (Py_ssize_t i = 0; i < length; i++) /* without a way out, so that it is vectorized */
        escapes |= is_escaped(text[i]);
    if (!escapes)
        return raw(line, text, length);
    for (Py_ssize_t i = 0; i < length; i++)
        if (!(is_escaped(text[i]) ? escape(line, text[i]) : raw(line, &text[i], 1)))
            return 0;
    return 1;
}

static int is_latin1(PyObject *text) { return PyUnicode_Check(text) && PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND; }

/* Adds text, or None, as JSON. */
static int
json(Line *line, PyObject *value)
{
    if (value == Py_None)
        return LITERAL(line, "null");
    return is_latin1(value) && LITERAL(line, "\"")
        && escaped(line, PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value)) && LITERAL(line, "\"");
}

static int
number(Line *line, long long value)
{
    char digits[20], *at = digits + sizeof digits;
    if (value < 0)
        return 0;
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    return raw(line, at, digits + sizeof digits - at);
}

/* Times before 1970, and below durations that are negative, are left to Python, which rounds them down. */
static int
wall_time(Line *line, Batch *batch, long long monotonic)
{
    long long nanoseconds;
    if (__builtin_add_overflow(monotonic, batch->to_wall, &nanoseconds) || nanoseconds < 0)
        return 0;
    long long milliseconds = nanoseconds / MILLISECOND;
    if (milliseconds != batch->milliseconds) {
        time_t seconds = (time_t)(milliseconds / 1000);
        struct tm utc;
        if (gmtime_r(&seconds, &utc) == NULL
            || strftime(batch->time, sizeof batch->time, "%Y-%m-%dT%H:%M:%S", &utc) != TIME)
            return 0;
        batch->milliseconds = milliseconds;
        PyOS_snprintf(batch->time + TIME, sizeof batch->time - TIME, ".%03dZ", (int)(milliseconds % 1000));
    }
    return raw(line, batch->time, sizeof batch->time - 1);
}

static int
duration(Line *line, long long started, long long ended)
{
    long long nanoseconds;
    return !__builtin_sub_overflow(ended, started, &nanoseconds) && nanoseconds >= 0 && number(line, nanoseconds / 1000);
}

/* Returns how many of the digits are not 0; -1 if they are no hexadecimal digits. */
static int
count_digits(const Py_UCS1 *digits, int count)
{
    int others = 0;
    for (int i = 0; i < count; i++) {
        if (digits[i] == '\0' || strchr("0123456789abcdef", digits[i]) == NULL)
            return -1;
        others += digits[i] != '0';
    }
    return others;
}

/* Adds the trace of a valid `traceparent` of the version there is. */
static int
trace(Line *line, PyObject *traceparent)
{
    if (traceparent == Py_None)
        return LITERAL(line, "null");
    if (!is_latin1(traceparent) || PyUnicode_GET_LENGTH(traceparent) != TRACEPARENT_LENGTH)
        return 0;
    const Py_UCS1 *text = PyUnicode_1BYTE_DATA(traceparent);
    return memcmp(text, "00-", TRACE) == 0 && text[SPAN - 1] == '-' && text[FLAGS - 1] == '-'
        && count_digits(text + TRACE, TRACE_DIGITS) > 0 && count_digits(text + SPAN, SPAN_DIGITS) > 0
        && count_digits(text + FLAGS, FLAGS_DIGITS) >= 0
        && LITERAL(line, "\"") && raw(line, text + TRACE, TRACE_DIGITS) && LITERAL(line, "\"");
}

/* Adds the end of a line: a text, or several with a number of the outcome behind each but the last. */
static int
ending(Line *line, PyObject *ends, PyObject *outcome)
{
    if (outcome != Py_None && !PyTuple_Check(outcome))
        return 0;
    Py_ssize_t numbers = outcome == Py_None ? 0 : PyTuple_GET_SIZE(outcome);
    if (!PyTuple_Check(ends) || PyTuple_GET_SIZE(ends) != numbers + 1)
        return 0;
    for (Py_ssize_t i = 0; i < numbers; i++) {
        PyObject *value = PyTuple_GET_ITEM(outcome, i);
        if (!ascii(line, PyTuple_GET_ITEM(ends, i))
            || !(value == Py_None ? LITERAL(line, "null") : number(line, PyLong_AsLongLong(value))))
            return 0;
    }
    return ascii(line, PyTuple_GET_ITEM(ends, numbers));
}

/* Returns the part of a line that `decision` determines, NULL if it has none; an exception may be set then. */
static PyObject *
part_of(Batch *batch, PyObject *decision)
{
    PyObject *part = PyObject_GetAttr(decision, part_name), *due = NULL;
    if (part == Py_None) { /* that of one that is equal, if as much was due to it */
        Py_SETREF(part, Py_XNewRef(PyDict_GetItemWithError(batch->parts, decision)));
        if (part != NULL && (due = PyObject_GetAttr(decision, due_name)) == NULL)
            Py_CLEAR(part);
    }
    if (part != NULL && (!PyTuple_Check(part) || PyTuple_GET_SIZE(part) != PART
                         || (due != NULL && PyTuple_GET_ITEM(part, DUE) != due)))
        Py_CLEAR(part);
    Py_XDECREF(due);
    return part;
}

/* Writes the line of a record whose decision determines `part`; returns whether it is a usual one. An exception may be
 * set where it is not. */
static int
usual(Line *line, Batch *batch, PyObject *record, PyObject *part)
{
    PyObject **of_record = PySequence_Fast_ITEMS(record), *head = of_record[HEAD], *target = of_record[TARGET];
    long long started = PyLong_AsLongLong(of_record[STARTED]), ended = PyLong_AsLongLong(of_record[ENDED]);
    if (PyErr_Occurred() || !PyTuple_Check(head) || PyTuple_GET_SIZE(head) != FIELDS || !is_latin1(target)
        || PyUnicode_GET_LENGTH(target) == 0)
        return 0;
    PyObject **of_part = PySequence_Fast_ITEMS(part), **of_head = PySequence_Fast_ITEMS(head);

    const Py_UCS1 *path = PyUnicode_1BYTE_DATA(target), *end = path + PyUnicode_GET_LENGTH(target);
    const Py_UCS1 *mark = memchr(path, '?', end - path), *path_end = mark ? mark : end, *query = mark ? mark + 1 : end;
    return LITERAL(line, "{\"time\":\"") && wall_time(line, batch, ended)
        && LITERAL(line, "\",\"level\":\"") && ascii(line, of_part[LEVEL])
        && LITERAL(line, "\",\"pool_requested\":") && json(line, of_head[POOL_REQUESTED])
        && ascii(line, of_part[OPENING])
        && (of_part[HAS_TARGET] != Py_True || escaped(line, path, end - path)) && ascii(line, of_part[CLOSING])
        && LITERAL(line, "\"method\":") && json(line, of_head[METHOD])
        && LITERAL(line, ",\"host\":") && json(line, of_head[HOST])
        && LITERAL(line, ",\"path\":\"") && escaped(line, path, path_end - path)
        && LITERAL(line, "\",\"query\":\"") && escaped(line, query, end - query)
        && LITERAL(line, "\",\"client_ip\":") && json(line, of_head[CLIENT_IP])
        && LITERAL(line, ",\"user_agent\":") && json(line, of_head[AGENT])
        && LITERAL(line, ",\"referer\":") && json(line, of_head[REFERER])
        && LITERAL(line, ",\"trace_id\":") && trace(line, of_head[TRACEPARENT])
        && LITERAL(line, ",\"request_id\":\"") && ascii(line, of_record[REQUEST_ID])
        && LITERAL(line, "\",\"duration_us\":") && duration(line, started, ended)
        && ascii(line, batch->tail) && ascii(line, of_record[CONFIG]) && LITERAL(line, "\"")
        && ending(line, of_part[ENDS], of_record[OUTCOME]);
}

/* Writes the line of `record` if it is a usual one, as `usual`. */
static int
add(Line *line, Batch *batch, PyObject *record)
{
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != RECORD)
        return 0;
    PyObject *part = part_of(batch, PyTuple_GET_ITEM(record, DECISION));
    int is_usual = part != NULL && usual(line, batch, record, part);
    Py_XDECREF(part);
    return is_usual;
}

/* Has `space` bytes behind those that are `used`. */
static int
reserve(PyObject **result, Py_ssize_t used, Py_ssize_t space)
{
    return PyBytes_GET_SIZE(*result) - used >= space ? 0 : _PyBytes_Resize(result, 2 * used + space);
}

static PyObject *
lines(PyObject *formatter, Batch *batch, PyObject *records, Py_ssize_t max_bytes)
{
    Py_ssize_t used = 0, count = PyList_GET_SIZE(records);
    PyObject *result = PyBytes_FromStringAndSize(NULL, count * USUAL_BYTES + max_bytes);
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        if (reserve(&result, used, max_bytes) < 0)
            return NULL;
        PyObject *record = PyList_GET_ITEM(records, i);
        char *begin = PyBytes_AS_STRING(result) + used;
        Line line = {begin, begin + max_bytes};
        if (add(&line, batch, record)) {
            used += line.at - begin;
            continue;
        }
        PyObject *other = PyErr_Occurred() ? NULL
            : PyObject_CallMethod(formatter, "line", "OL", record, batch->to_wall);
        if (other != NULL && !PyBytes_Check(other))
            PyErr_Format(PyExc_TypeError, "line returned %R, not bytes", other);
        if (other != NULL && PyBytes_Check(other) && reserve(&result, used, PyBytes_GET_SIZE(other)) == 0) {
            memcpy(PyBytes_AS_STRING(result) + used, PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other));
            used += PyBytes_GET_SIZE(other);
        }
        else
            Py_CLEAR(result);
        Py_XDECREF(other);
    }
    if (result != NULL)
        _PyBytes_Resize(&result, used);
    return result;
}

/* make(formatter, records, to_wall, max_bytes): their lines, as bytes. */
static PyObject *
make(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyList_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "make takes a formatter, a list and two numbers");
    Batch batch = {.to_wall = PyLong_AsLongLong(args[2]), .milliseconds = -1};
    Py_ssize_t max_bytes = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (max_bytes < 0 || max_bytes > 1 << 20)
        return PyErr_Format(PyExc_ValueError, "make got a number out of its range");
    PyObject *result = NULL, *records = PyList_GetSlice(args[1], 0, PyList_GET_SIZE(args[1]));
    if (records != NULL && (batch.parts = PyObject_GetAttrString(args[0], "parts")) != NULL
        && (batch.tail = PyObject_GetAttrString(args[0], "tail")) != NULL) {
        if (PyDict_Check(batch.parts))
            result = lines(args[0], &batch, records, max_bytes);
        else
            PyErr_Format(PyExc_TypeError, "parts is %R, not a dict", batch.parts);
    }
    Py_XDECREF(records);
    Py_XDECREF(batch.parts);
    Py_XDECREF(batch.tail);
    return result;
}

static PyMethodDef methods[] = {{"make", (PyCFunction)(void (*)(void))make, METH_FASTCALL, NULL}, {NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_lines", SOURCE, 0, methods};

PyMODINIT_FUNC
PyInit__lines(void)
{
    if ((due_name = PyUnicode_InternFromString("due")) == NULL
        || (part_name = PyUnicode_InternFromString("line_part")) == NULL)
        return NULL;
    return PyModuleDef_Init(&definition);
}
