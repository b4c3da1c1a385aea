package s3

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits of a connection.
const (
	headerTimeout  = 30 * time.Second  // from the first byte of a request to the end of its headers
	idleTimeout    = 120 * time.Second // between two requests
	maxHeaderBytes = 64 << 10          // S3 allows 8 KiB of headers; SDKs and proxies add theirs
	drainTimeout   = 30 * time.Second  // for running requests, once Serve is to end
	maxConns       = 4096              // open connections; more wait in the listener's queue
)

// Serve answers S3 requests on l until ctx ends. Then it takes no more,
// waits up to 30 seconds for those that run, and cuts what is left. It
// closes l. The error is nil after an orderly end. The gateway is not
// closed: it may serve several listeners.
func Serve(ctx context.Context, l net.Listener, g *Gateway) error {
	// A request's context must outlive ctx, or it would fail instead of
	// being drained.
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(g.o.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	ended := make(chan error, 1)
	go func() {
		ended <- srv.Serve(&limitListener{Listener: l, slots: make(chan struct{}, maxConns), done: make(chan struct{})})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		srv.Close()
	}
	if e := <-ended; err == nil && !errors.Is(e, http.ErrServerClosed) {
		err = e
	}
	return err
}
