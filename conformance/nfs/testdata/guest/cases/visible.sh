# What one door writes the other shows, at once.
host put bucket both/by-s3 "by s3"
[ "$(cat both/by-s3)" = "by s3" ] || fail "object over NFS"
mkdir -p nfs/deep; echo -n "by nfs" > nfs/deep/file
host has bucket nfs/deep/file "by nfs"
echo -n " and more" >> nfs/deep/file
host has bucket nfs/deep/file "by nfs and more"
host put bucket nfs/deep/file "replaced"
sleep 3.1 # the kernel may believe attributes for three seconds
[ "$(cat nfs/deep/file)" = "replaced" ] || fail "an object put over a file: $(cat nfs/deep/file)"
mv nfs/deep nfs/moved
host has bucket nfs/moved/file "replaced"
host hasnot bucket nfs/deep/file
rm nfs/moved/file
host hasnot bucket nfs/moved/file
# A key beside keys below it.
host put bucket k/a "the key"
host put bucket k/a/b "below"
[ "$(cat k/a/b)" = below ] || fail "k/a/b"
[ "$(cat k/.%f=a)" = "the key" ] || fail "the escaped name: $(ls -a k)"
# Owners: the first user's objects are the directory's owner's.
[ "$(stat -c %u both/by-s3)" = "$(cat /io/uid)" ] || fail "owner of an object"
