"""What a program of python3-rados does: librados.py POOL.

Each check prints its name when it holds; the first that does not ends the
script with its traceback.
"""

import json
import sys
import threading
import time
import uuid

import rados

cluster = rados.Rados(conffile="")
cluster.connect(timeout=30)
pool = sys.argv[1]
io = cluster.open_ioctx(pool)


def raises(kind, call, *args, **kw):
    try:
        got = call(*args, **kw)
    except kind:
        return
    raise AssertionError(f"{call} gave {got!r}, and not {kind.__name__}")


def read_and_write():
    io.write("o", b"0123456789")
    assert io.read("o") == b"0123456789"
    assert io.read("o", 4, 3) == b"3456"
    io.write("o", b"AB", 8)
    io.append("o", b"CD")
    assert io.read("o") == b"01234567ABCD"
    io.write_full("o", b"full")
    assert io.read("o") == b"full" and io.stat("o")[0] == 4
    io.trunc("o", 2)
    assert io.read("o") == b"fu"
    io.writesame("o", b"ab", 6)
    assert io.read("o") == b"ababab"
    assert io.cmpext("o", b"abab") == 0
    assert io.cmpext("o", b"abXb") != 0
    io.remove_object("o")
    raises(rados.ObjectNotFound, io.read, "o")
    raises(rados.ObjectNotFound, io.stat, "o")
    big = bytes(range(256)) * (4 << 12)
    io.write_full("big", big)
    assert io.read("big", len(big)) == big
    assert io.get_last_version() > 0


def attributes():
    io.write_full("o", b"x")
    io.set_xattr("o", "one", b"1")
    io.set_xattr("o", "binary", b"\x00\xff\x00")
    assert io.get_xattr("o", "binary") == b"\x00\xff\x00"
    assert dict(io.get_xattrs("o")) == {"one": b"1", "binary": b"\x00\xff\x00"}
    io.rm_xattr("o", "one")
    raises(rados.NoData, io.get_xattr, "o", "one")


def namespaces():
    io.set_namespace("ns")
    io.write_full("only here", b"x")
    assert [o.key for o in io.list_objects()] == ["only here"]
    io.set_namespace("")
    raises(rados.ObjectNotFound, io.read, "only here")
    io.set_namespace(rados.LIBRADOS_ALL_NSPACES)
    assert ("ns", "only here") in [(o.nspace, o.key) for o in io.list_objects()]
    io.set_namespace("")
    for i in range(300):
        io.write_full(f"listed-{i:03}", b"")
    assert sorted(o.key for o in io.list_objects() if o.key.startswith("listed-")) == [f"listed-{i:03}" for i in range(300)]


def asynchronous():
    written = [io.aio_write(f"aio-{i}", bytes([i]) * 1000) for i in range(64)]
    for c in written:
        c.wait_for_complete_and_cb()
        assert c.get_return_value() == 0
    got = {}
    read = [io.aio_read(f"aio-{i}", 2000, 0, lambda c, data, i=i: got.__setitem__(i, data)) for i in range(64)]
    for c in read:
        c.wait_for_complete_and_cb()
    assert got == {i: bytes([i]) * 1000 for i in range(64)}
    sizes = []
    c = io.aio_stat("aio-1", lambda _, size, mtime: sizes.append(size))
    c.wait_for_complete_and_cb()
    assert sizes == [1000]
    io.aio_append("aio-1", b"more").wait_for_complete()
    io.aio_write_full("aio-2", b"less").wait_for_complete()
    assert len(io.read("aio-1")) == 1004 and io.read("aio-2") == b"less"
    c = io.aio_remove("aio-3")
    c.wait_for_complete()
    assert c.get_return_value() == 0
    seen = []
    c = io.aio_read("aio-3", 10, 0, lambda c, data: seen.append(c.get_return_value()))
    c.wait_for_complete_and_cb()
    assert seen == [-2], seen


def omap():
    keys = tuple(f"key-{i:04}" for i in range(2000))
    with rados.WriteOpCtx() as op:
        io.set_omap(op, keys, tuple(k.encode() for k in keys))
        op.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        io.operate_write_op(op, "omap")
    found, after = [], ""
    while True:
        with rados.ReadOpCtx() as op:
            it, _ = io.get_omap_vals(op, after, "", 700)
            io.operate_read_op(op, "omap")
            page = list(it)
        if not page:
            break
        assert len(page) <= 700 and all(v == k.encode() for k, v in page)
        found += [k for k, _ in page]
        after = found[-1]
    assert tuple(found) == keys
    with rados.ReadOpCtx() as op:
        it, _ = io.get_omap_vals(op, "", "key-19", 1000)
        io.operate_read_op(op, "omap")
        assert len(list(it)) == 100
    with rados.ReadOpCtx() as op:
        it, _ = io.get_omap_vals_by_keys(op, ("key-0007", "none"))
        io.operate_read_op(op, "omap")
        assert list(it) == [("key-0007", b"key-0007")]
    with rados.WriteOpCtx() as op:
        io.remove_omap_keys(op, ("key-0007",))
        io.operate_write_op(op, "omap")
    with rados.WriteOpCtx() as op:
        io.clear_omap(op)
        io.operate_write_op(op, "omap")
    with rados.ReadOpCtx() as op:
        it, _ = io.get_omap_keys(op, "", 10)
        io.operate_read_op(op, "omap")
        assert list(it) == []


def operations():
    with rados.WriteOpCtx() as op:
        op.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        op.write(b"data")
        op.set_xattr("a", b"v")
        io.operate_write_op(op, "vector")
    with rados.WriteOpCtx() as op:
        op.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        op.write(b"other")
        raises(rados.ObjectExists, io.operate_write_op, op, "vector")
    assert io.read("vector") == b"data" and io.get_xattr("vector", "a") == b"v"
    version = io.get_last_version()
    with rados.WriteOpCtx() as op:
        op.assert_version(version + 1)
        op.write(b"late")
        raises(Exception, io.operate_write_op, op, "vector")
    code, out = io.execute("vector", "hello", "say_hello", b"there"), None
    assert code[1] == b"Hello, there!", code


def pool_snapshots():
    io.write_full("s", b"before")
    io.create_snap("snap")
    io.write_full("s", b"after!")
    assert [s.name for s in io.list_snaps()] == ["snap"]
    snap = io.lookup_snap("snap")
    io.set_read(snap.snap_id)
    assert io.read("s") == b"before"
    io.set_read(rados.LIBRADOS_SNAP_HEAD)
    assert io.read("s") == b"after!"
    io.snap_rollback("s", "snap")
    assert io.read("s") == b"before"
    io.remove_snap("snap")
    raises(rados.ObjectNotFound, io.lookup_snap, "snap")


def watch_and_notify():
    io.write_full("watched", b"")
    seen, errors = [], []

    def notified(notify_id, notifier, watch_id, data):
        seen.append((notifier, data))
        return b"ack of " + data

    def failed(watch_id, error):
        errors.append(error)

    watch = io.watch("watched", notified, failed)
    other = rados.Rados(conffile="")
    other.connect(timeout=30)
    theirs = other.open_ioctx(pool)
    second = theirs.watch("watched", lambda n, who, w, data: b"second", None)
    assert watch.check().total_seconds() >= 0 and watch.get_id() != 0
    assert theirs.notify("watched", "a message", 10000)
    time.sleep(0.1)
    assert len(seen) == 1 and seen[0] == (other.get_instance_id(), b"a message"), seen
    acks = []
    done = threading.Event()

    def complete(completion, code, answers, timeouts):
        acks.append((code, sorted(data for _, _, data in answers), timeouts))
        done.set()

    # Later releases' bindings give the answers; all give the result.
    if hasattr(theirs, "aio_notify"):
        theirs.aio_notify("watched", complete, "again", 10000)
        assert done.wait(20)
        assert acks == [(0, [b"ack of again", b"second"], [])], acks
    second.close()
    watch.close()
    assert theirs.notify("watched", "nobody", 5000) and errors == []
    raises(rados.ObjectNotFound, io.watch, "missing", notified, failed)
    theirs.close()
    other.shutdown()


def locks():
    io.lock_exclusive("locked", "lock", "mine", desc="why", duration=100)
    raises(rados.ObjectExists, io.lock_exclusive, "locked", "lock", "mine")
    raises(rados.ObjectBusy, io.lock_exclusive, "locked", "lock", "other")
    raises(rados.ObjectBusy, io.lock_shared, "locked", "lock", "other", "tag")
    io.unlock("locked", "lock", "mine")
    raises(rados.ObjectNotFound, io.unlock, "locked", "lock", "mine")
    io.lock_shared("locked", "lock", "a", "tag")
    io.lock_shared("locked", "lock", "b", "tag")
    io.unlock("locked", "lock", "a")
    io.unlock("locked", "lock", "b")


def the_cluster():
    stats = cluster.get_cluster_stats()
    assert stats["kb"] > 0 and stats["kb_avail"] > 0 and set(stats) == {"kb", "kb_used", "kb_avail", "num_objects"}
    assert len(cluster.get_fsid()) == 36
    assert pool in cluster.list_pools() and cluster.pool_exists(pool)
    assert cluster.pool_reverse_lookup(cluster.pool_lookup(pool)) == pool
    code, out, err = cluster.mon_command(json.dumps({"prefix": "osd pool get", "pool": pool, "var": "pg_num", "format": "json"}), b"", timeout=30)
    assert code == 0 and json.loads(out)["pg_num"] == 8, (code, out, err)
    code, out, err = cluster.mon_command(json.dumps({"prefix": "no such command"}), b"", timeout=30)
    assert code == -22 and err, (code, out, err)
    code, out, err = cluster.osd_command(0, json.dumps({"prefix": "version", "format": "json"}), b"", timeout=30)
    assert code == 0 and "version" in json.loads(out), (code, out, err)
    name = "py-" + str(uuid.uuid4())
    cluster.create_pool(name)
    raises(rados.ObjectExists, cluster.create_pool, name)
    cluster.delete_pool(name)
    raises(rados.ObjectNotFound, cluster.open_ioctx, name)
    assert cluster.get_instance_id() > 0
    cluster.wait_for_latest_osdmap()
    deadline = time.time() + 60
    while io.get_stats()["num_objects"] == 0:
        assert time.time() < deadline, io.get_stats()
        time.sleep(0.5)


for check in (read_and_write, attributes, namespaces, asynchronous, omap, operations, watch_and_notify, locks, the_cluster, pool_snapshots):
    begin = time.time()
    check()
    print(f"holds: {check.__name__} ({time.time() - begin:.1f} s)", flush=True)
io.close()
cluster.shutdown()
print("all hold")
