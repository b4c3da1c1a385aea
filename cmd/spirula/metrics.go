package main

import (
	"reflect"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// registry offers the counters of every daemon: a package keeps them as a
// struct of atomics, and each field becomes a metric spirula_PART_FIELD.
func (s *status) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge := func(name, help string, f func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	gauge("spirula_store_total_bytes", "size of the store", func() float64 { return float64(s.cl.osd.store.Statfs().Total) })
	gauge("spirula_store_free_bytes", "what a write may still take", func() float64 { return float64(s.cl.osd.store.Statfs().Free) })
	gauge("spirula_store_data_bytes", "allocated to data", func() float64 { return float64(s.cl.osd.store.Statfs().Data) })
	gauge("spirula_store_objects", "RADOS objects", func() float64 { return float64(s.cl.osd.store.Statfs().Objects) })
	registerCounters(r, "mon", &s.cl.mon.mon.Metrics)
	if s.cl.access.tcp != nil {
		registerCounters(r, "msgr", &s.cl.access.tcp.Metrics)
	}
	registerCounters(r, "osd", &s.cl.osd.osd.Metrics)
	return r
}

// registerCounters registers every atomic field of the struct that m points
// to.
func registerCounters(r *prometheus.Registry, part string, m any) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		var read func() float64
		switch a := v.Field(i).Addr().Interface().(type) {
		case *atomic.Int64:
			read = func() float64 { return float64(a.Load()) }
		case *atomic.Uint64:
			read = func() float64 { return float64(a.Load()) }
		default:
			continue
		}
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spirula_" + part + "_" + snake(f.Name), Help: part + ": " + f.Name,
		}, read))
	}
}

// snake writes a field's name as metrics are named: ReadBytes, read_bytes.
func snake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if unicode.IsUpper(c) && i > 0 && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
