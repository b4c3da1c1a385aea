mkdir -p $MNT/second
mkdir -p posix
SPIRULA_MOUNT=$B/posix SPIRULA_MOUNT2=$MNT/second /io/posix.test -test.v -test.timeout 4m
