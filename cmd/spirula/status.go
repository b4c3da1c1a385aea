package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/spirula/spirula/gateway/nfs"
	"github.com/spirula/spirula/gateway/s3"
)

// status is what a running process tells of itself.
type status struct {
	cl      *cluster
	config  *config
	l       *listeners
	keys    firstKeys
	started time.Time
	ready   atomic.Bool
	s3      *s3.Gateway
	nfs     *nfs.Gateway
}

// report is what `spirula status -o json` prints.
type report struct {
	Version   versionInfo       `json:"version"`
	FSID      string            `json:"fsid"`
	Directory string            `json:"directory"`
	Health    string            `json:"health"`
	Uptime    string            `json:"uptime"`
	S3        string            `json:"s3"`
	NFS       string            `json:"nfs"`
	Mount     string            `json:"mount"`
	Rados     string            `json:"rados"` // the mon's address; "off" without outside clients
	Conf      string            `json:"ceph_conf"`
	Status    string            `json:"status"`
	Epoch     uint32            `json:"osdmap_epoch"`
	Total     int64             `json:"total_bytes"`
	Free      int64             `json:"free_bytes"`
	Data      int64             `json:"data_bytes"`
	Objects   int64             `json:"objects"`
	Full      bool              `json:"full"`
	Memory    uint64            `json:"heap_bytes"`
	Config    map[string]string `json:"config"`
}

func newStatus(cl *cluster, c *config, l *listeners, keys firstKeys, started time.Time) *status {
	return &status{cl: cl, config: c, l: l, keys: keys, started: started}
}

func (s *status) report() report {
	fs := s.cl.osd.store.Statfs()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	r := report{
		Version: thisVersion(), FSID: s.cl.dir.file.FSID, Directory: s.cl.dir.path, Health: "HEALTH_OK",
		Uptime: time.Since(s.started).Round(time.Second).String(),
		S3:     "http://" + reachable(s.l.s3), NFS: reachable(s.l.nfs), Mount: mountCommand(s.l.nfs), Rados: monOff, Conf: filepath.Join(s.cl.dir.path, confFile), Status: "http://" + reachable(s.l.status),
		Total: fs.Total, Free: fs.Free, Data: fs.Data, Objects: fs.Objects, Full: fs.Full,
		Memory: mem.HeapInuse, Config: s.config.values(),
	}
	if s.cl.access.tcp != nil {
		r.Rados = s.cl.mon.mon.Addr().IP.String()
	}
	if m := s.cl.mon.mon.OSDMap(); m != nil {
		r.Epoch = uint32(m.Epoch)
	}
	if fs.Full {
		r.Health = "HEALTH_ERR the store is full: remove something, or give the disk more space"
	}
	return r
}

// banner tells, once everything is ready, how to use it.
func (s *status) banner(w io.Writer) {
	r := s.report()
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "spirula %s is ready\n", version)
	fmt.Fprintf(t, "  S3 endpoint\t%s\n", r.S3)
	fmt.Fprintf(t, "  access key\t%s\n", s.keys.AccessKey)
	fmt.Fprintf(t, "  secret key\t%s\n", s.keys.SecretKey)
	fmt.Fprintf(t, "  mount\tsudo %s\n", r.Mount)
	if r.Rados != monOff {
		fmt.Fprintf(t, "  rados\trados -c %s lspools\n", r.Conf)
	}
	fmt.Fprintf(t, "  status\t%s\n", r.Status)
	fmt.Fprintf(t, "  data\t%s\n", r.Directory)
	t.Flush()
	fmt.Fprintln(w, "active configuration:")
	s.config.write(&indent{w: w})
}

// indent puts two spaces before each line; it is given whole lines.
type indent struct{ w io.Writer }

func (i *indent) Write(p []byte) (int, error) {
	if _, err := i.w.Write([]byte("  ")); err != nil {
		return 0, err
	}
	return i.w.Write(p)
}

// public is the status address: health, metrics, pprof and a page.
func (s *status) public() http.Handler {
	r := mux.NewRouter()
	r.HandleFunc("/healthz", s.healthz)
	r.HandleFunc("/status.json", s.serveReport)
	r.Handle("/metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{}))
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	r.PathPrefix("/debug/pprof/").HandlerFunc(pprof.Index)
	r.HandleFunc("/", s.page)
	return r
}

func (s *status) healthz(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *status) serveReport(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.report())
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v)
}

var pageTemplate = template.Must(template.New("status").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Spirula</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:60em}td{padding:.1em 1.5em .1em 0;vertical-align:top}code{background:#eee;padding:.1em .3em}</style></head>
<body><h1>Spirula {{.Version.Version}}</h1><p>{{.Health}}, up {{.Uptime}}</p>
<table>
<tr><td>S3 endpoint</td><td><code>{{.S3}}</code></td></tr>
<tr><td>mount</td><td><code>{{.Mount}}</code></td></tr>
<tr><td>rados</td><td><code>{{.Rados}}</code> <code>{{.Conf}}</code></td></tr>
<tr><td>directory</td><td><code>{{.Directory}}</code></td></tr>
<tr><td>fsid</td><td><code>{{.FSID}}</code></td></tr>
<tr><td>objects</td><td>{{.Objects}}</td></tr>
<tr><td>data</td><td>{{.Data}} bytes</td></tr>
<tr><td>free</td><td>{{.Free}} of {{.Total}} bytes</td></tr>
<tr><td>heap</td><td>{{.Memory}} bytes</td></tr>
</table>
<p><a href="/status.json">status.json</a> <a href="/metrics">metrics</a> <a href="/debug/pprof/">pprof</a> <a href="/healthz">healthz</a></p>
</body></html>
`))

func (s *status) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	pageTemplate.Execute(w, s.report())
}

// serveHTTP answers on l until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if srv.Shutdown(end) != nil {
		srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [DIR]",
		Short: "Show what a running spirula is doing",
		Args:  cobra.MaximumNArgs(1),
	}
	dir := addRunningFlags(cmd)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			*dir = args[0]
		}
		dir, err := runningDir(cmd, *dir)
		if err != nil {
			return err
		}
		var r report
		if err := askAdmin(cmd.Context(), dir, "GET", "/status", nil, &r); err != nil {
			return err
		}
		return output.print(cmd.OutOrStdout(), r, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
			defer t.Flush()
			fmt.Fprintf(t, "health\t%s\n", r.Health)
			fmt.Fprintf(t, "version\t%s, up %s\n", r.Version.Version, r.Uptime)
			fmt.Fprintf(t, "S3 endpoint\t%s\n", r.S3)
			fmt.Fprintf(t, "mount\t%s\n", r.Mount)
			fmt.Fprintf(t, "status\t%s\n", r.Status)
			fmt.Fprintf(t, "data\t%s, %d objects, %d bytes\n", r.Directory, r.Objects, r.Data)
			fmt.Fprintf(t, "space\t%d of %d bytes free\n", r.Free, r.Total)
			fmt.Fprintf(t, "heap\t%d bytes\n", r.Memory)
		})
	}
	return cmd
}
