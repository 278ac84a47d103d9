/* The compiled form of `_add_up` in batch.py, which says what a batch adds up to. Beside that it counts decisions of
 * which it is known where, if that is all that is to be done for them.
 *
 * Nothing that is called while a batch is read can change it: it is a copy of the list, decisions are told apart by where
 * they are, and only text and None are hashed. The attribute of a decision is read when all records were.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The first 20 digits of the SHA-1 of the other lines of this file, and the module's docstring. */
#define SOURCE "51036c9c322be594547e"

/* Places in a record, see record.py. The requested pool comes first in a head. */
enum { DECISION, HEAD, REQUEST_ID, TARGET, STARTED, ENDED, CONFIG, OUTCOME, RECORD };

/* Places in what a decision has as `counted_at`, see decision.py, and the numbers of a request's series. */
enum { USE, REQUEST, ROUTE, IS_ALL, COUNTED_AT };
enum { REQUESTS = 0, LAST_MS = 2 };

enum { MAX_BOUNDS = 64 };

typedef struct {
    long long total;
    Py_ssize_t counts[MAX_BOUNDS + 1]; /* by bucket */
} Durations;

static PyObject *counted_at; /* the name of the attribute */

/* The numbers of a slot, while a configuration is in use. */
typedef struct {
    unsigned long long *numbers;
    Py_ssize_t length;
    PyObject *use;
    unsigned long long now_ms;
} Counts;

/* A decision, which a record holds, and how many records have it. */
typedef struct {
    PyObject *decision;
    Py_ssize_t count;
} Group;

typedef struct {
    const long long *bounds;
    Py_ssize_t bounds_count, groups_count;
    Group *groups; /* with space for one for each record */
    PyObject *pools, *pool, *forwarded;
    Durations answers, forwards;
} Sums;

static void
add_decision(Sums *sums, PyObject *decision)
{
    Group *group = sums->groups, *end = group + sums->groups_count;
    while (group < end && group->decision != decision)
        group++;
    if (group == end) {
        *group = (Group){decision, 0};
        sums->groups_count++;
    }
    group->count++;
}

static int
add_duration(Sums *sums, Durations *durations, long long started, long long ended)
{
    long long duration;
    if (__builtin_sub_overflow(ended, started, &duration)
        || __builtin_add_overflow(durations->total, duration, &durations->total))
        return 0;
    Py_ssize_t bucket = 0;
    while (bucket < sums->bounds_count && sums->bounds[bucket] < duration)
        bucket++;
    durations->counts[bucket]++;
    return 1;
}

/* Returns whether it could be added; an exception may be set if not. */
static int
add(Sums *sums, PyObject *record)
{
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != RECORD)
        return 0;
    PyObject **of_record = PySequence_Fast_ITEMS(record), *head = of_record[HEAD];
    if (!PyTuple_Check(head) || PyTuple_GET_SIZE(head) == 0)
        return 0;
    PyObject *pool = PyTuple_GET_ITEM(head, 0);
    if (pool != sums->pool) {
        if ((pool != Py_None && !PyUnicode_CheckExact(pool)) || PySet_Add(sums->pools, pool) < 0)
            return 0;
        sums->pool = pool;
    }
    int is_forward = of_record[OUTCOME] != Py_None;
    if (is_forward && PyList_Append(sums->forwarded, record) < 0)
        return 0;
    add_decision(sums, of_record[DECISION]);
    long long started = PyLong_AsLongLong(of_record[STARTED]), ended = PyLong_AsLongLong(of_record[ENDED]);
    return !PyErr_Occurred() && add_duration(sums, is_forward ? &sums->forwards : &sums->answers, started, ended);
}

static unsigned long long *
number_at(const Counts *counts, PyObject *index)
{
    Py_ssize_t at = PyLong_AsSsize_t(index);
    if (at >= 0 && at < counts->length)
        return counts->numbers + at;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_IndexError, "a slot has no number %zd", at);
    return NULL;
}

/* Counts `group` at `places`; returns whether it could. */
static int
count_at(const Counts *counts, const Group *group, PyObject *places)
{
    unsigned long long *of_request = number_at(counts, PyTuple_GET_ITEM(places, REQUEST)), *of_route = NULL;
    if (of_request == NULL)
        return 0;
    if (counts->numbers + counts->length - of_request <= LAST_MS) {
        PyErr_SetString(PyExc_IndexError, "a series ends behind the slot");
        return 0;
    }
    PyObject *route = PyTuple_GET_ITEM(places, ROUTE);
    if (route != Py_None && (of_route = number_at(counts, route)) == NULL)
        return 0;
    of_request[REQUESTS] += group->count;
    of_request[LAST_MS] = counts->now_ms;
    if (of_route != NULL)
        *of_route += group->count;
    return 1;
}

/* Returns 1 if `group` was counted, 0 if there is more to do for it, and -1 with an exception. */
static int
count_known(const Counts *counts, const Group *group)
{
    PyObject *places = PyObject_GetAttr(group->decision, counted_at);
    if (places == NULL)
        return -1;
    int is_known = PyTuple_CheckExact(places) && PyTuple_GET_SIZE(places) == COUNTED_AT
                   && PyTuple_GET_ITEM(places, USE) == counts->use && PyTuple_GET_ITEM(places, IS_ALL) == Py_True;
    int counted = !is_known ? 0 : count_at(counts, group, places) ? 1 : -1;
    Py_DECREF(places);
    return counted;
}

/* Appends `pair`, which may be NULL, and lets go of it; returns whether it could. */
static int
append(PyObject *list, PyObject *pair)
{
    int is_appended = pair != NULL && PyList_Append(list, pair) == 0;
    Py_XDECREF(pair);
    return is_appended;
}

static PyObject *
durations_as_tuple(const Durations *durations)
{
    PyObject *buckets = PyList_New(0);
    for (int i = 0; buckets != NULL && i <= MAX_BOUNDS; i++)
        if (durations->counts[i] && !append(buckets, Py_BuildValue("in", i, durations->counts[i])))
            Py_CLEAR(buckets);
    return buckets == NULL ? NULL : Py_BuildValue("LN", durations->total, buckets);
}

/* Those that are left to count. */
static PyObject *
groups_as_list(const Sums *sums, const Counts *counts)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < sums->groups_count; i++) {
        int counted = count_known(counts, sums->groups + i);
        if (counted < 0 || (!counted && !append(list, Py_BuildValue("On", sums->groups[i].decision, sums->groups[i].count))))
            Py_CLEAR(list);
    }
    return list;
}

static int
read_bounds(PyObject *tuple, long long *bounds)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        bounds[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
    return !PyErr_Occurred();
}

static PyObject *
add_up_into(PyObject *batch, const long long *bounds, Py_ssize_t bounds_count, const Counts *counts)
{
    Py_ssize_t records = PyList_GET_SIZE(batch), added = 0;
    Sums sums = {.bounds = bounds, .bounds_count = bounds_count};
    sums.groups = PyMem_New(Group, records ? records : 1);
    sums.pools = PySet_New(NULL);
    sums.forwarded = PyList_New(0);
    PyObject *result = NULL;
    if (sums.groups == NULL)
        PyErr_NoMemory();
    else if (sums.pools != NULL && sums.forwarded != NULL) {
        while (added < records && add(&sums, PyList_GET_ITEM(batch, added)))
            added++;
        if (added == records)
            result = Py_BuildValue("NONNO", groups_as_list(&sums, counts), sums.pools, durations_as_tuple(&sums.answers),
                                   durations_as_tuple(&sums.forwards), sums.forwarded);
        else if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "record %zd of the batch is none: %R", added, PyList_GET_ITEM(batch, added));
    }
    PyMem_Free(sums.groups);
    Py_XDECREF(sums.pools);
    Py_XDECREF(sums.forwarded);
    return result;
}

/* add_up(records, bounds, counts, use, now_ms): see `Sums` in batch.py; `bounds` are of buckets, in nanoseconds,
 * ascending, and `counts` the numbers of a slot, of 64 bits. */
static PyObject *
add_up(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    long long bounds[MAX_BOUNDS];
    if (count != 5 || !PyList_Check(args[0]) || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) > MAX_BOUNDS)
        return PyErr_Format(PyExc_TypeError, "add_up takes a list, a tuple of at most %d bounds, numbers, an object and a time",
                            MAX_BOUNDS);
    unsigned long long now_ms = PyLong_AsUnsignedLongLong(args[4]);
    Py_buffer buffer;
    if (PyErr_Occurred() || !read_bounds(args[1], bounds) || PyObject_GetBuffer(args[2], &buffer, PyBUF_WRITABLE) < 0)
        return NULL;
    Counts counts = {buffer.buf, buffer.len / (Py_ssize_t)sizeof(unsigned long long), args[3], now_ms};
    PyObject *batch = PyList_GetSlice(args[0], 0, PyList_GET_SIZE(args[0]));
    PyObject *result = batch == NULL ? NULL : add_up_into(batch, bounds, PyTuple_GET_SIZE(args[1]), &counts);
    Py_XDECREF(batch);
    PyBuffer_Release(&buffer);
    return result;
}

static PyMethodDef methods[] = {{"add_up", (PyCFunction)(void (*)(void))add_up, METH_FASTCALL, NULL}, {NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_batch", SOURCE, 0, methods};

PyMODINIT_FUNC
PyInit__batch(void)
{
    if (counted_at == NULL && (counted_at = PyUnicode_InternFromString("counted_at")) == NULL)
        return NULL;
    return PyModuleDef_Init(&definition);
}
