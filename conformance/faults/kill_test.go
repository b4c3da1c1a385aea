// Package faults holds tests of a whole spirula that is killed, starved, or
// stopped at bad moments, and the clients that check what it promised.
package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/spirula/spirula/conformance/nfsclient"
)

// server is a spirula in a process of its own.
type server struct {
	t              *testing.T
	bin, dir       string
	s3, nfs, admin string
	cmd            *exec.Cmd
	log            *os.File
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newServer builds the program and chooses addresses that stay the same over
// restarts.
func newServer(t *testing.T) *server {
	tmp := t.TempDir()
	s := &server{t: t, bin: filepath.Join(tmp, "spirula"), dir: filepath.Join(tmp, "data"),
		s3: freePort(t), nfs: freePort(t), admin: freePort(t)}
	if out, err := exec.Command("go", "build", "-o", s.bin, "github.com/spirula/spirula/cmd/spirula").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var err error
	if s.log, err = os.Create(filepath.Join(tmp, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			b, _ := os.ReadFile(s.log.Name())
			t.Logf("the end of the server's log:\n%s", b[max(0, len(b)-4000):])
		}
		s.log.Close()
	})
	return s
}

// start runs the server and gives how long it took to be ready.
func (s *server) start() time.Duration {
	s.t.Helper()
	begin := time.Now()
	s.cmd = exec.Command(s.bin, "up", s.dir, "--s3", s.s3, "--nfs", s.nfs, "--mon", "127.0.0.1:0", "--status", s.admin,
		"--access-key", "faults", "--secret-key", "faultsfaults")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for time.Since(begin) < 30*time.Second {
		resp, err := http.Get("http://" + s.admin + "/healthz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return time.Since(begin)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatal("the server was not ready after 30 seconds")
	return 0
}

func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGKILL)
		s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + s.s3), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("faults", "faultsfaults", ""), RetryMaxAttempts: 1,
	})
}

// version is what a key may hold: nothing, or the bytes of a seed.
type version struct {
	exists bool
	seed   uint64
	size   int
}

func (v version) bytes() []byte {
	r := rand.New(rand.NewPCG(v.seed, uint64(v.size)))
	b := make([]byte, v.size)
	for i := 0; i+8 <= len(b); i += 8 {
		x := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(x >> (8 * j))
		}
	}
	return b
}

// objectWorker puts, deletes and checks keys of its own.
type objectWorker struct {
	c       *s3.Client
	prefix  string
	rnd     *rand.Rand
	acked   map[string]version
	pending map[string]version // asked for and not answered when the server died
	ops     int
}

var objectSizes = []int{0, 100, 2048, 2049, 70_000, 1 << 20, 1<<20 + 5, 6 << 20}

func (w *objectWorker) run(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		key := fmt.Sprintf("%s/dir%d/key%d", w.prefix, w.rnd.IntN(3), w.rnd.IntN(8))
		v := version{exists: w.rnd.IntN(5) > 0, seed: w.rnd.Uint64(), size: objectSizes[w.rnd.IntN(len(objectSizes))]}
		w.pending[key] = v
		if err := w.change(key, v); err != nil {
			var apiErr interface{ ErrorCode() string }
			if errors.As(err, &apiErr) && apiErr.ErrorCode() != "SlowDown" && apiErr.ErrorCode() != "InternalError" && apiErr.ErrorCode() != "ServiceUnavailable" {
				return fmt.Errorf("change of %s: %w", key, err)
			}
			<-stop
			return nil
		}
		delete(w.pending, key)
		w.acked[key] = v
		w.ops++
	}
}

func (w *objectWorker) change(key string, v version) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if !v.exists {
		_, err := w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("faults"), Key: &key})
		return err
	}
	_, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("faults"), Key: &key, Body: bytes.NewReader(v.bytes())})
	return err
}

// check reads every key and compares it with what was promised.
func (w *objectWorker) check() error {
	for _, m := range []map[string]version{w.acked, w.pending} {
		for key := range m {
			if err := w.checkKey(key); err != nil {
				return err
			}
		}
	}
	clear(w.pending)
	return nil
}

func (w *objectWorker) checkKey(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []byte
	exists := true
	out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("faults"), Key: &key})
	var none *types.NoSuchKey
	switch {
	case errors.As(err, &none):
		exists = false
	case err != nil:
		return fmt.Errorf("get %s: %w", key, err)
	default:
		got, err = io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil {
			return fmt.Errorf("get %s: %w", key, err)
		}
	}
	same := func(v version) bool {
		return v.exists == exists && (!exists || v.size == len(got) && bytes.Equal(v.bytes(), got))
	}
	acked := w.acked[key]
	if same(acked) {
		return nil
	}
	if p, ok := w.pending[key]; ok && same(p) {
		w.acked[key] = p
		return nil
	}
	return fmt.Errorf("%s: found exists=%v, %d bytes; acknowledged was %+v, under way %+v", key, exists, len(got), acked, w.pending[key])
}

// fileWorker writes one file over NFS, in blocks, and knows for each block
// which contents it may have.
type fileWorker struct {
	addr   string
	rnd    *rand.Rand
	handle nfsclient.Handle
	conn   *nfsclient.Client
	blocks [][]byte // committed contents: the fill byte of each block
	ops    int
}

const (
	fileBlock  = 16 << 10
	fileBlocks = 128
)

func (w *fileWorker) connect() error {
	if w.conn != nil {
		w.conn.Close()
	}
	var err error
	w.conn, err = nfsclient.Dial(w.addr, 0, 0)
	return err
}

func (w *fileWorker) run(stop <-chan struct{}) error {
	if err := w.connect(); err != nil {
		<-stop
		return nil
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := w.round(); err != nil {
			var s nfsclient.Status
			if errors.As(err, &s) && s != 10008 { // anything but JUKEBOX
				return err
			}
			<-stop
			return nil
		}
	}
}

// round writes some blocks UNSTABLE and commits them.
func (w *fileWorker) round() error {
	type change struct {
		block int
		fill  byte
	}
	var changes []change
	var verifier uint64
	for i := range 1 + w.rnd.IntN(6) {
		c := change{w.rnd.IntN(fileBlocks), byte(w.rnd.IntN(256))}
		// Until it is committed, the block may be either.
		w.blocks[c.block] = append(w.blocks[c.block], c.fill)
		_, v, err := w.conn.Write(w.handle, uint64(c.block)*fileBlock, bytes.Repeat([]byte{c.fill}, fileBlock), nfsclient.Unstable)
		if err != nil {
			return err
		}
		if i > 0 && v != verifier {
			return errors.New("the verifier changed without a restart")
		}
		verifier = v
		changes = append(changes, c)
	}
	v, err := w.conn.Commit(w.handle)
	if err != nil {
		return err
	}
	if v != verifier {
		return errors.New("COMMIT's verifier is not the writes'")
	}
	for _, c := range changes {
		w.blocks[c.block] = []byte{c.fill}
	}
	for _, c := range changes { // the last write of a block counts
		w.blocks[c.block] = []byte{c.fill}
	}
	w.ops++
	return nil
}

// check reads the file through the handle from before the restart. A block is
// uniform per 4 KiB and of one of the contents it may have.
func (w *fileWorker) check() error {
	if err := w.connect(); err != nil {
		return err
	}
	for i := range w.blocks {
		got, _, err := w.conn.Read(w.handle, uint64(i)*fileBlock, fileBlock)
		if err != nil {
			return fmt.Errorf("read of block %d: %w", i, err)
		}
		if len(w.blocks[i]) == 1 && w.blocks[i][0] == 0 && len(got) < fileBlock {
			continue // never written, at the end of the file
		}
		seen := map[byte]bool{}
		for _, b := range got {
			seen[b] = true
		}
		for b := range seen {
			if !bytes.Contains(w.blocks[i], []byte{b}) {
				return fmt.Errorf("block %d holds byte %d; it may hold %v", i, b, w.blocks[i])
			}
		}
		if len(w.blocks[i]) == 1 && len(got) != fileBlock {
			return fmt.Errorf("block %d: %d bytes", i, len(got))
		}
		// What is there now is there to stay, or is one of these again.
		left := w.blocks[i][:0]
		for _, b := range w.blocks[i] {
			if seen[b] {
				left = append(left, b)
			}
		}
		if len(left) > 0 {
			w.blocks[i] = left
		}
	}
	return nil
}

// TestKill kills a server again and again at random moments under mixed S3
// and NFS load. SPIRULA_KILLS says how often; 3 by default.
func TestKill(t *testing.T) {
	kills := 3
	if v, err := strconv.Atoi(os.Getenv("SPIRULA_KILLS")); err == nil {
		kills = v
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t)
	s.start()
	if _, err := s.client().CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String("faults")}); err != nil {
		t.Fatal(err)
	}
	var objects []*objectWorker
	for i := range 4 {
		objects = append(objects, &objectWorker{c: s.client(), prefix: fmt.Sprintf("w%d", i), rnd: rand.New(rand.NewPCG(seed, uint64(i+1))),
			acked: map[string]version{}, pending: map[string]version{}})
	}
	var files []*fileWorker
	for i := range 2 {
		w := &fileWorker{addr: s.nfs, rnd: rand.New(rand.NewPCG(seed, uint64(i+100)))}
		for range fileBlocks {
			w.blocks = append(w.blocks, []byte{0})
		}
		if err := w.connect(); err != nil {
			t.Fatal(err)
		}
		root, err := w.conn.Mount("/faults")
		if err != nil {
			t.Fatal(err)
		}
		if w.handle, err = w.conn.Create(root, fmt.Sprintf("file%d", i)); err != nil {
			t.Fatal(err)
		}
		files = append(files, w)
	}
	var slowest time.Duration
	for n := range kills {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		errs := make(chan error, len(objects)+len(files))
		for _, w := range objects {
			wg.Add(1)
			go func() { defer wg.Done(); errs <- w.run(stop) }()
		}
		for _, w := range files {
			wg.Add(1)
			go func() { defer wg.Done(); errs <- w.run(stop) }()
		}
		time.Sleep(time.Duration(100+rnd.IntN(2500)) * time.Millisecond)
		s.kill()
		close(stop)
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Fatalf("before kill %d: %v", n+1, err)
			}
		}
		slowest = max(slowest, s.start())
		for _, w := range objects {
			if err := w.check(); err != nil {
				t.Fatalf("after kill %d: %v", n+1, err)
			}
		}
		for _, w := range files {
			if err := w.check(); err != nil {
				t.Fatalf("after kill %d: %v", n+1, err)
			}
		}
	}
	total := 0
	for _, w := range objects {
		total += w.ops
	}
	commits := 0
	for _, w := range files {
		commits += w.ops
	}
	t.Logf("%d kills, %d acknowledged changes over S3, %d commits over NFS, ready again after at most %v", kills, total, commits, slowest)
	if total == 0 || commits == 0 {
		t.Fatal("nothing was done between the kills")
	}
}
