/* The compiled form of `_add_up` in batch.py, which says what a batch adds up to.
 *
 * Nothing that is called while a batch is read can change it: decisions are told apart by where they are, and only text
 * and None are hashed.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The first 20 digits of the SHA-1 of the other lines of this file, and the module's docstring. */
#define SOURCE "a2bdd16565a0d9556ec7"

/* Places in a record, see record.py. The requested pool comes first in a head. */
enum { DECISION, HEAD, TARGET, STARTED, ENDED, CONFIG, OUTCOME, RECORD };

enum { MAX_BOUNDS = 64 };

typedef struct {
    long long total;
    Py_ssize_t counts[MAX_BOUNDS + 1]; /* by bucket */
} Durations;

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

static PyObject *
groups_as_list(const Sums *sums)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && i < sums->groups_count; i++)
        if (!append(list, Py_BuildValue("On", sums->groups[i].decision, sums->groups[i].count)))
            Py_CLEAR(list);
    return list;
}

static int
read_bounds(PyObject *tuple, long long *bounds)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
        bounds[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
    return !PyErr_Occurred();
}

/* add_up(records, bounds): see `Sums` in batch.py; `bounds` are of buckets, in nanoseconds, ascending. */
static PyObject *
add_up(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    long long bounds[MAX_BOUNDS];
    if (count != 2 || !PyList_Check(args[0]) || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) > MAX_BOUNDS)
        return PyErr_Format(PyExc_TypeError, "add_up takes a list and a tuple of at most %d bounds", MAX_BOUNDS);
    if (!read_bounds(args[1], bounds))
        return NULL;
    Py_ssize_t records = PyList_GET_SIZE(args[0]), added = 0;
    Sums sums = {.bounds = bounds, .bounds_count = PyTuple_GET_SIZE(args[1])};
    sums.groups = PyMem_New(Group, records ? records : 1);
    sums.pools = PySet_New(NULL);
    sums.forwarded = PyList_New(0);
    PyObject *result = NULL;
    if (sums.groups == NULL)
        PyErr_NoMemory();
    else if (sums.pools != NULL && sums.forwarded != NULL) {
        while (added < records && add(&sums, PyList_GET_ITEM(args[0], added)))
            added++;
        if (added == records)
            result = Py_BuildValue("NONNO", groups_as_list(&sums), sums.pools, durations_as_tuple(&sums.answers),
                                   durations_as_tuple(&sums.forwards), sums.forwarded);
        else if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "record %zd of the batch is none: %R", added, PyList_GET_ITEM(args[0], added));
    }
    PyMem_Free(sums.groups);
    Py_XDECREF(sums.pools);
    Py_XDECREF(sums.forwarded);
    return result;
}

static PyMethodDef methods[] = {{"add_up", (PyCFunction)(void (*)(void))add_up, METH_FASTCALL, NULL}, {NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_batch", SOURCE, 0, methods};

PyMODINIT_FUNC
PyInit__batch(void) { return PyModuleDef_Init(&definition); }
