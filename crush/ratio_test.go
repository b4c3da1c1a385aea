package crush

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkOriginal maps the same inputs with Ceph's crushtool and here, on
// one core, and reports both rates and their ratio. The tool's start is not
// counted; its tester's own work, small beside the mapping, is.
func BenchmarkOriginal(b *testing.B) {
	tool := foreignTool(b)
	for _, c := range []struct {
		name string
		m    *Map
	}{{"10000", largeMap(b, 25, 20, 20)}, {"48", largeMap(b, 1, 12, 4)}} {
		b.Run(c.name, func(b *testing.B) {
			const inputs = 50_000
			file := filepath.Join(b.TempDir(), "map")
			if err := os.WriteFile(file, c.m.Encode(), 0o600); err != nil {
				b.Fatal(err)
			}
			run := func(n int) time.Duration {
				cmd := exec.Command(tool, "-i", file, "--test", "--show-statistics", "--num-rep", "3", "--min-x", "0",
					"--max-x", strconv.Itoa(n-1))
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				return cmd.ProcessState.UserTime()
			}
			weights := NewTester(c.m).DeviceWeights()
			var w Work
			var theirs, ours time.Duration
			for b.Loop() {
				theirs += run(inputs) - run(1)
				start := time.Now()
				for x := range uint32(inputs) {
					c.m.DoRule(0, x, 3, weights, nil, &w)
				}
				ours += time.Since(start)
			}
			n := float64(inputs * b.N)
			b.ReportMetric(n/ours.Seconds(), "mappings/s")
			b.ReportMetric(n/theirs.Seconds(), "original/s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
