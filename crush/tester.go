package crush

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// Tester maps a range of inputs by a range of rules and shows what comes out,
// in the words of crushtool --test. NewTester gives one with its defaults.
type Tester struct {
	Map *Map

	MinX, MaxX       int32 // both below 0, or one: 0 to 1023
	MinRule, MaxRule int   // one below 0: all rules
	Ruleset          int   // only rules with this ID; -1: any
	MinRep, MaxRep   int   // devices wanted; one below 0: what each rule allows
	Pool             int64 // inputs are hashed with it, as PGs are; -1: not

	Weights map[int32]uint32 // reweights, 16.16; other devices are in

	Statistics     bool // how many devices the results have
	Utilization    bool // how often devices that are used come
	UtilizationAll bool // how often every device comes
	Mappings       bool // each result
	BadMappings    bool // each result with too few devices
	ChooseTries    bool // how many tries the choices took

	Workers int // goroutines; 0: one for each core
}

// NewTester gives a Tester of everything that shows nothing yet.
func NewTester(m *Map) *Tester {
	return &Tester{Map: m, MinX: -1, MaxX: -1, MinRule: -1, MaxRule: -1, Ruleset: -1, MinRep: -1, MaxRep: -1,
		Pool: -1, Weights: map[int32]uint32{}}
}

// What a test may cost in memory: devices are counted, results kept.
const (
	maxTested    = 1 << 24
	maxTestedRep = 1 << 16
)

// testChunk is how many inputs a goroutine maps at a time.
const testChunk = 2048

// Run computes and writes to w, in the order of rules, numbers of devices and
// inputs whatever the number of goroutines. It stops at w's first error.
func (t *Tester) Run(w io.Writer) error {
	if t.Map.MaxDevices > maxTested || max(t.MinRep, t.MaxRep) > maxTestedRep {
		return badMap("a test of %d devices, %d wanted: at most %d and %d", t.Map.MaxDevices, max(t.MinRep, t.MaxRep),
			maxTested, maxTestedRep)
	}
	r := testRun{Tester: t, w: w, minX: int(t.MinX), maxX: int(t.MaxX), weights: t.DeviceWeights()}
	if t.MinX < 0 || t.MaxX < 0 {
		r.minX, r.maxX = 0, 1023
	}
	r.statistics = t.Statistics || t.Utilization || t.UtilizationAll
	for _, wt := range r.weights {
		r.total += int32(wt)
	}
	minRule, maxRule := t.MinRule, t.MaxRule
	if minRule < 0 || maxRule < 0 {
		minRule, maxRule = 0, len(t.Map.Rules)-1
	}
	if t.ChooseTries {
		r.profile = make([]uint64, min(t.Map.Tunables.ChooseTotalTries, maxProfile))
	}
	for n := minRule; n <= maxRule && n < len(t.Map.Rules); n++ {
		if err := r.rule(n); err != nil {
			return err
		}
	}
	for i, count := range r.profile {
		if _, err := fmt.Fprintf(w, "%2d: %9d\n", i, count); err != nil {
			return err
		}
	}
	return nil
}

// maxProfile bounds the histogram of tries.
const maxProfile = 1 << 16

// DeviceWeights is the vector of reweights Run uses, by device: 1.0 for those
// in a bucket, 0 for others, but for what Weights says.
func (t *Tester) DeviceWeights() []uint32 {
	w := make([]uint32, min(t.Map.MaxDevices, maxTested))
	for _, b := range t.Map.Buckets {
		if b == nil {
			continue
		}
		for _, i := range b.Items {
			if i >= 0 && int(i) < len(w) {
				w[i] = 0x10000
			}
		}
	}
	for d, wt := range t.Weights {
		if d >= 0 && int(d) < len(w) {
			w[d] = wt
		}
	}
	return w
}

type testRun struct {
	*Tester
	w          io.Writer
	minX, maxX int
	statistics bool
	weights    []uint32
	total      int32 // sum of weights, with the original's overflow
	profile    []uint64
}

func (r *testRun) rule(n int) error {
	rule := r.Map.Rules[n]
	if rule == nil {
		if r.statistics {
			_, err := fmt.Fprintf(r.w, "rule %d dne\n", n)
			return err
		}
		return nil
	}
	if r.Ruleset >= 0 && int(rule.ID) != r.Ruleset {
		return nil
	}
	lo, hi := r.MinRep, r.MaxRep
	if lo < 0 || hi < 0 {
		lo, hi = int(rule.MinSize), int(rule.MaxSize)
	}
	if r.statistics {
		if _, err := fmt.Fprintf(r.w, "rule %d (%s), x = %d..%d, numrep = %d..%d\n", n, r.Map.RuleNames[int32(n)],
			r.minX, r.maxX, lo, hi); err != nil {
			return err
		}
	}
	for rep := lo; rep <= hi && r.total != 0; rep++ {
		if err := r.size(n, rep); err != nil {
			return err
		}
	}
	return nil
}

// tally is what was counted over some inputs.
type tally struct {
	devices []int // results a device is in
	sizes   map[int]int
	profile []uint64
}

// testJob is a range of inputs; out gets its lines.
type testJob struct {
	from, to int
	out      chan []byte
}

// size maps all inputs to rep devices: goroutines take ranges as they come,
// lines are written in order.
func (r *testRun) size(rule, rep int) error {
	workers := r.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	jobs, order := make(chan testJob), make(chan testJob, 2*workers)
	stop := make(chan struct{})
	go func() {
		defer close(order)
		defer close(jobs)
		for x := r.minX; x <= r.maxX; x += testChunk {
			j := testJob{x, min(x+testChunk-1, r.maxX), make(chan []byte, 1)}
			select {
			case order <- j:
				jobs <- j
			case <-stop:
				return
			}
		}
	}()
	sums := make([]tally, workers)
	var wg sync.WaitGroup
	for i := range sums {
		wg.Go(func() { sums[i] = r.work(rule, rep, jobs) })
	}
	var err error
	for j := range order {
		lines := <-j.out
		if err != nil || len(lines) == 0 {
			continue
		}
		if _, err = r.w.Write(lines); err != nil {
			close(stop)
		}
	}
	wg.Wait()
	if err != nil {
		return err
	}
	return r.report(rule, rep, sums)
}

func (r *testRun) work(rule, rep int, jobs <-chan testJob) tally {
	sum := tally{devices: make([]int, len(r.weights)), sizes: map[int]int{}, profile: make([]uint64, len(r.profile))}
	var w Work
	if r.ChooseTries {
		w.profile, w.stubborn = sum.profile, true
	}
	args := r.Map.ChooseArgs[DefaultChooseArgs]
	for j := range jobs {
		var lines []byte
		for x := j.from; x <= j.to; x++ {
			in := uint32(x)
			if r.Pool != -1 {
				in = Hash2(in, uint32(r.Pool))
			}
			got := r.Map.DoRule(rule, in, rep, r.weights, args, &w)
			bad := len(got) != rep
			for _, d := range got {
				if d == None {
					bad = true
				} else if d >= 0 && int(d) < len(sum.devices) {
					sum.devices[d]++
				}
			}
			sum.sizes[len(got)]++
			if r.Mappings {
				lines = append(lines, "CRUSH rule "...)
				lines = appendInt(lines, rule)
				lines = appendInt(append(lines, " x "...), x)
				lines = append(appendItems(append(lines, ' '), got), '\n')
			}
			if r.BadMappings && bad {
				lines = append(lines, "bad mapping rule "...)
				lines = appendInt(lines, rule)
				lines = appendInt(append(lines, " x "...), x)
				lines = appendInt(append(lines, " num_rep "...), rep)
				lines = append(appendItems(append(lines, " result "...), got), '\n')
			}
		}
		j.out <- lines
	}
	return sum
}

func appendInt(b []byte, v int) []byte { return strconv.AppendInt(b, int64(v), 10) }

func appendItems(b []byte, items []int32) []byte {
	b = append(b, '[')
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(b, int(it))
	}
	return append(b, ']')
}

func (r *testRun) report(rule, rep int, sums []tally) error {
	all := sums[0]
	for _, s := range sums[1:] {
		for i, n := range s.devices {
			all.devices[i] += n
		}
		for size, n := range s.sizes {
			all.sizes[size] += n
		}
		for i, n := range s.profile {
			all.profile[i] += n
		}
	}
	for i, n := range all.profile {
		r.profile[i] += n
	}
	if !r.statistics {
		return nil
	}
	var b []byte
	inputs := r.maxX - r.minX + 1
	for _, size := range slices.Sorted(maps.Keys(all.sizes)) {
		b = fmt.Appendf(b, "rule %d (%s) num_rep %d result size == %d:\t%d/%d\n", rule, r.Map.RuleNames[int32(rule)],
			rep, size, all.sizes[size], inputs)
	}
	objects := float32(min(rep, r.Map.mostAffected(r.Map.Rules[rule])) * inputs)
	for d, stored := range all.devices {
		expected := float32(r.weights[d]) / float32(r.total) * objects
		if r.Utilization && expected > 0 && stored > 0 || !r.Utilization && r.UtilizationAll {
			b = fmt.Appendf(b, "  device %d:\t\t stored : %d\t expected : %s\n", d, stored, shortFloat(expected))
		}
	}
	_, err := r.w.Write(b)
	return err
}

// shortFloat prints a number with six digits, as C++ streams do.
func shortFloat(f float32) string {
	return strconv.FormatFloat(float64(f), 'g', 6, 64)
}

// mostAffected is the original tester's guess of how many devices a rule can
// give: the smallest number of buckets of a type that the rule chooses from,
// or of what it asks for if that is less. A type that is chosen from twice
// counts twice, steps that set a tunable name type 0, which counts nothing.
func (m *Map) mostAffected(r *Rule) int {
	var kinds []int32
	asked := map[int32]int{}
	for _, s := range r.Steps {
		if s.Op >= StepChooseFirstN && s.Op != StepEmit {
			kinds = append(kinds, s.Arg2)
			asked[s.Arg2] = int(s.Arg1)
		}
	}
	have := map[int32]int{}
	for id := range m.Names {
		if b := m.Bucket(id); b != nil {
			for _, k := range kinds {
				if int32(b.Type) == k {
					have[k]++
				}
			}
		}
	}
	most := max(len(m.Buckets), int(m.MaxDevices))
	for _, k := range kinds {
		if n := asked[k]; n > 0 && n < have[k] {
			have[k] = n
		}
	}
	for _, k := range kinds {
		if n := have[k]; n > 0 && n < most {
			most = n
		}
	}
	return most
}
