# tar, cp -a, diff and rm -rf of a tree with files, links, modes and times.
mkdir x; tar -xf /io/tree.tar -C x
drop
diff -r --no-dereference /io/tree x/tree
cp -a /io/tree y
drop
diff -r --no-dereference /io/tree y
( cd /io/tree; find . -printf '%p %y %m %s %T@ %l\n' | sed -E '/ d /s/ [0-9]+ ([0-9.]+) $/ \1/' | sort ) > /tmp/want
( cd y; find . -printf '%p %y %m %s %T@ %l\n' | sed -E '/ d /s/ [0-9]+ ([0-9.]+) $/ \1/' | sort ) > /tmp/got
diff /tmp/want /tmp/got
rm -rf x y
[ ! -e x ] && [ ! -e y ]
