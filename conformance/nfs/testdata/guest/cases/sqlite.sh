{ echo "create table t(id integer primary key, v text);"
  for i in {1..1000}; do echo "insert into t(v) values('row $i');"; done
  echo "select count(*), sum(id) from t;"; echo "pragma integrity_check;"; } > /tmp/in.sql
[ "$(sqlite3 db.sqlite < /tmp/in.sql)" = $'1000|500500\nok' ] || fail "sqlite3"
drop
[ "$(sqlite3 db.sqlite 'select v from t where id=777')" = "row 777" ] || fail "after the caches were dropped"
