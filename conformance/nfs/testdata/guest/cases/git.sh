export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git clone -q /io/repo.git clone
cd clone
git fsck --no-progress
[ -z "$(git status --porcelain)" ] || fail "a fresh clone has changes"
echo change >> file1
git -c user.name=a -c user.email=a@b commit -qam change
[ "$(git log --oneline | wc -l)" = 4 ] || fail "history: $(git log --oneline)"
git gc -q
git fsck --no-progress
