package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/mux"
	"github.com/spf13/cobra"

	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/rados/wire"
)

// The admin door is HTTP on a unix socket in the data directory that only its
// owner can open: whoever may read the store's files may manage it.

// userInfo is a user as the commands show it. Secrets are there only in the
// answers to user add and user key.
type userInfo struct {
	Name    string    `json:"name"`
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	Admin   bool      `json:"admin"`
	Created time.Time `json:"created"`
	Keys    []keyInfo `json:"keys"`
}

type keyInfo struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key,omitempty"`
}

// userRequest is what user add and user key ask for.
type userRequest struct {
	Name      string  `json:"name"`
	AccessKey string  `json:"access_key,omitempty"`
	SecretKey string  `json:"secret_key,omitempty"`
	UID       *uint32 `json:"uid,omitempty"`
	GID       *uint32 `json:"gid,omitempty"`
	Rotate    bool    `json:"rotate,omitempty"`
}

// adminError is the body of an answer that is no success.
type adminError struct {
	Error string `json:"error"`
	Errno int32  `json:"errno"`
}

func (s *status) admin() http.Handler {
	r := mux.NewRouter().UseEncodedPath()
	r.HandleFunc("/status", s.serveReport).Methods("GET")
	r.HandleFunc("/users", s.listUsers).Methods("GET")
	r.HandleFunc("/users", s.addUser).Methods("POST")
	r.HandleFunc("/users/key", s.userKey).Methods("POST")
	r.HandleFunc("/users/remove", s.removeUser).Methods("POST")
	return r
}

func showUser(u *user.User, secrets bool) userInfo {
	info := userInfo{Name: u.Name, UID: u.UID, GID: u.GID, Admin: u.Admin, Created: u.Created.Std()}
	for _, k := range u.Keys {
		ki := keyInfo{AccessKey: k.Access}
		if secrets {
			ki.SecretKey = k.Secret.Reveal()
		}
		info.Keys = append(info.Keys, ki)
	}
	return info
}

func answer(w http.ResponseWriter, v any, err error) {
	if err == nil {
		writeJSON(w, v)
		return
	}
	code := http.StatusInternalServerError
	switch wire.ErrnoOf(err) {
	case wire.ENOENT:
		code = http.StatusNotFound
	case wire.EEXIST:
		code = http.StatusConflict
	case wire.EINVAL:
		code = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(adminError{err.Error(), int32(wire.ErrnoOf(err))})
}

// maxAdminBody bounds a request to the admin door.
const maxAdminBody = 64 << 10

func readRequest(r *http.Request) (req userRequest, err error) {
	d := json.NewDecoder(io.LimitReader(r.Body, maxAdminBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, wire.Wrap("admin request", "", fmt.Errorf("%w: %w", err, wire.EINVAL))
	}
	return req, nil
}

func (s *status) listUsers(w http.ResponseWriter, r *http.Request) {
	us, err := s.cl.users.List(r.Context())
	list := []userInfo{}
	for _, u := range us {
		list = append(list, showUser(u, false))
	}
	answer(w, list, err)
}

func (s *status) addUser(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	u := user.User{Name: req.Name, UID: s.cl.dir.uid, GID: s.cl.dir.gid}
	if req.UID != nil {
		u.UID, u.GID = *req.UID, *req.UID
	}
	if req.GID != nil {
		u.GID = *req.GID
	}
	if req.AccessKey != "" {
		u.Keys = []user.Key{{Access: req.AccessKey, Secret: user.Secret(req.SecretKey)}}
	}
	made, err := s.cl.users.Add(r.Context(), u)
	if err != nil {
		answer(w, nil, err)
		return
	}
	answer(w, showUser(made, true), nil)
}

// userKey shows a user's keys, or replaces them.
func (s *status) userKey(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err == nil && (req.Rotate || req.AccessKey != "") {
		_, err = s.cl.users.Rotate(r.Context(), req.Name, user.Key{Access: req.AccessKey, Secret: user.Secret(req.SecretKey)})
	}
	var u *user.User
	if err == nil {
		u, err = s.cl.users.ByName(r.Context(), req.Name)
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	answer(w, showUser(u, true), nil)
}

func (s *status) removeUser(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err == nil {
		err = s.cl.users.Remove(r.Context(), req.Name)
	}
	answer(w, struct{}{}, err)
}

// runningDir finds the data directory of a running spirula: the one named,
// or that of the process that answers at the status address.
func runningDir(cmd *cobra.Command, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	addr, _ := cmd.Flags().GetString("status")
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/status.json", nil)
	if err != nil {
		return "", usageError{err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("no spirula answers at %s: start one with `spirula up DIR`, or name its directory with --dir or its status address with --status", addr)
	}
	defer resp.Body.Close()
	var r report
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&r); err != nil || r.Directory == "" {
		return "", fmt.Errorf("what answers at %s is no spirula: name its directory with --dir", addr)
	}
	return r.Directory, nil
}

// addRunningFlags declares how a running spirula is found.
func addRunningFlags(cmd *cobra.Command) (dir *string) {
	c := config{}
	def := ""
	c.each(func(s setting) {
		if s.name == "status" {
			def = s.def
		}
	})
	if v, ok := os.LookupEnv(envName("status")); ok {
		def = v
	}
	cmd.PersistentFlags().String("status", def, "status address of the running spirula, if --dir isn't given")
	return cmd.PersistentFlags().String("dir", os.Getenv(envName("dir")), "data directory of the running spirula")
}

// askAdmin asks the process that runs on dir.
func askAdmin(ctx context.Context, dir, method, path string, req, resp any) error {
	socket := filepath.Join(dir, adminFile)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	var body io.Reader
	if req != nil {
		b, err := json.Marshal(req)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	hr, err := http.NewRequestWithContext(ctx, method, "http://spirula"+path, body)
	if err != nil {
		return err
	}
	res, err := client.Do(hr)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("no permission to use %s: run this as the owner of the directory", socket)
		}
		return fmt.Errorf("no spirula runs on %s: start it with `spirula up %s`", dir, dir)
	}
	defer res.Body.Close()
	d := json.NewDecoder(io.LimitReader(res.Body, 64<<20))
	if res.StatusCode != http.StatusOK {
		var e adminError
		if d.Decode(&e) != nil || e.Error == "" {
			return fmt.Errorf("the server answered %s", res.Status)
		}
		return errors.New(e.Error)
	}
	return d.Decode(resp)
}
