// Command load puts a measured load on an S3 endpoint: any one, ours or
// another's.
//
//	go run ./conformance/load --endpoint http://127.0.0.1:9000 --access-key K --secret-key S put --size 4KiB
//
// The operations are put, get, stat, list and mixed. Each runs for a time at
// a number of parallel workers and prints throughput, latencies and errors,
// as text or JSON. Its client is net/http with a signer of its own, because
// on a small machine an SDK would cost more than the server it measures. What
// get reads is checked: length always, content with --verify.
//
// Objects lie under a prefix in a bucket that is made if needed, and are
// removed at the end unless --keep is given.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// options are the settings of a run.
type options struct {
	endpoint, accessKey, secretKey, region string
	bucket, prefix                         string
	size                                   string
	objects                                int
	concurrency                            int
	duration                               time.Duration
	keep, verify                           bool
	output                                 string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	root := &cobra.Command{Use: "load", Short: "Put a measured load on an S3 endpoint", SilenceUsage: true, SilenceErrors: true}
	f := root.PersistentFlags()
	f.StringVar(&o.endpoint, "endpoint", "http://127.0.0.1:9000", "the S3 endpoint")
	f.StringVar(&o.accessKey, "access-key", os.Getenv("AWS_ACCESS_KEY_ID"), "access key")
	f.StringVar(&o.secretKey, "secret-key", os.Getenv("AWS_SECRET_ACCESS_KEY"), "secret key")
	f.StringVar(&o.region, "region", "us-east-1", "region to sign for")
	f.StringVar(&o.bucket, "bucket", "load", "bucket to use; made if needed")
	f.StringVar(&o.prefix, "prefix", "load/", "prefix of the keys used")
	f.StringVar(&o.size, "size", "4KiB", "size of an object")
	f.IntVar(&o.objects, "objects", 1000, "objects that get, stat, list and mixed work on")
	f.IntVar(&o.concurrency, "concurrency", 8, "parallel workers, at most 1024")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to run")
	f.BoolVar(&o.keep, "keep", false, "leave the objects there")
	f.BoolVar(&o.verify, "verify", false, "check the content that get reads")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	for name, short := range map[string]string{
		"put": "write objects under new keys", "get": "read objects", "stat": "HEAD objects",
		"list": "list all keys, page by page; counts keys", "mixed": "45% get, 15% put, 10% delete, 30% stat",
	} {
		root.AddCommand(&cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return run(ctx, name, &o, cmd.OutOrStdout())
		}})
	}
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// parseBytes reads 4KiB, 1MiB, 16m, 4096.
func parseBytes(s string) (int, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), "b"), "i")
	shift := 0
	if n := len(t); n > 0 {
		if i := strings.IndexByte("kmg", t[n-1]); i >= 0 {
			shift, t = 10*(i+1), t[:n-1]
		}
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < 0 || n > 5<<30>>shift {
		return 0, fmt.Errorf("size %q: want something like 4KiB, at most 5GiB", s)
	}
	return n << shift, nil
}

func run(ctx context.Context, name string, o *options, w io.Writer) error {
	size, err := parseBytes(o.size)
	if err != nil {
		return err
	}
	if o.accessKey == "" || o.secretKey == "" {
		return errors.New("give --access-key and --secret-key, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if o.concurrency < 1 || o.concurrency > 1024 || o.objects < 1 {
		return errors.New("--concurrency must be 1 to 1024, --objects at least 1")
	}
	c, err := newClient(o)
	if err != nil {
		return err
	}
	if err := c.makeBucket(ctx); err != nil {
		return err
	}
	l := &load{c: c, o: o, body: content(size)}
	if name != "put" {
		fmt.Fprintf(os.Stderr, "writing %d objects of %s\n", o.objects, o.size)
		if err := l.fill(ctx); err != nil {
			return err
		}
	}
	res := l.measure(ctx, name)
	if !o.keep {
		if err := l.cleanUp(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "load: removing the objects:", err)
		}
	}
	if o.output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		err = e.Encode(res)
	} else {
		res.print(w)
	}
	if err == nil && res.Errors > 0 {
		err = fmt.Errorf("%d operations failed, the first: %s", res.Errors, res.FirstError)
	}
	return err
}
