package user

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	object     = "users"
	namespace  = "users"
	userPrefix = "u/"
	keyPrefix  = "k/"
	listPage   = 512 // records asked for at once
	maxRetries = 8   // of a change that others keep overtaking
)

// Options says how a Store works. Pool is required.
type Options struct {
	Pool rados.Doer // the metadata pool
	// Fresh is how long an answer of ByAccessKey is given again without
	// looking. Default 5 s.
	Fresh time.Duration
	// Stale is how old an answer may be when the cluster cannot be asked.
	// Default 60 s.
	Stale time.Duration
	// Unknown is how long a key that is not there is remembered. Default 1 s.
	Unknown time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Store is the cluster's users. Safe for concurrent use; it starts nothing
// and needs no Close.
type Store struct {
	o     Options
	cache cache
}

// Open makes the users' object if it is not there and checks that it can be
// read.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Fresh == 0 {
		o.Fresh = 5 * time.Second
	}
	if o.Stale == 0 {
		o.Stale = time.Minute
	}
	if o.Unknown == 0 {
		o.Unknown = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o: o}
	if _, err := s.do(ctx, wire.Op{Code: wire.OpCreate}); err != nil {
		return nil, wire.Wrap("user.open", object, err)
	}
	return s, nil
}

func (s *Store) now() wire.Time { return wire.TimeOf(s.o.Now()) }

func (s *Store) do(ctx context.Context, ops ...wire.Op) (*rados.Reply, error) {
	return s.o.Pool.Do(ctx, &rados.Op{Object: object, Namespace: namespace, Ops: ops})
}

// get reads omap values; what is not there is not in the answer.
func (s *Store) get(ctx context.Context, key string) ([]byte, error) {
	r, err := s.do(ctx, wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: []string{key}})
	if err != nil {
		return nil, err
	}
	if len(r.Results) > 0 {
		for _, kv := range r.Results[0].KVs {
			if kv.Key == key {
				return kv.Value, nil
			}
		}
	}
	return nil, nil
}

// lookup gives a user and the record as it is stored.
func (s *Store) lookup(ctx context.Context, name string) (*User, []byte, error) {
	raw, err := s.get(ctx, userPrefix+name)
	if err != nil {
		return nil, nil, wire.Wrap("user.read", name, err)
	}
	if raw == nil {
		return nil, nil, wire.Errorf("user.read", name, wire.ENOENT)
	}
	u, err := decodeUser(raw)
	return u, raw, err
}

// ByName gives a user; ENOENT.
func (s *Store) ByName(ctx context.Context, name string) (*User, error) {
	u, _, err := s.lookup(ctx, name)
	return u, err
}

func expect(key string, value []byte) wire.OmapCmp {
	return wire.OmapCmp{Key: key, Value: value, Op: wire.CmpEQ}
}

// Add makes a user. Without keys a pair is generated. EEXIST when the name or
// an access key is taken, EINVAL for what is not valid. The user as stored is
// returned.
func (s *Store) Add(ctx context.Context, u User) (*User, error) {
	if !ValidName(u.Name) {
		return nil, wire.Errorf("user.add", fmt.Sprintf("%q is no valid user name", u.Name), wire.EINVAL)
	}
	if u.Created == 0 {
		u.Created = s.now()
	}
	u.Keys = append([]Key(nil), u.Keys...)
	if len(u.Keys) == 0 {
		u.Keys = append(u.Keys, GenerateKey(s.now()))
	}
	if len(u.Keys) > MaxKeys {
		return nil, wire.Errorf("user.add", u.Name+": too many keys", wire.EINVAL)
	}
	cmps := []wire.OmapCmp{expect(userPrefix+u.Name, nil)}
	var sets []wire.KV
	for i := range u.Keys {
		if err := s.complete("user.add", &u.Keys[i]); err != nil {
			return nil, err
		}
		k := keyPrefix + u.Keys[i].Access
		cmps = append(cmps, expect(k, nil))
		sets = append(sets, wire.KV{Key: k, Value: encodeKey(u.Name)})
	}
	sets = append(sets, wire.KV{Key: userPrefix + u.Name, Value: encodeUser(&u)})
	err := s.change(ctx, cmps, sets, nil)
	if wire.ErrnoOf(err) == wire.ECANCELED {
		return nil, wire.Errorf("user.add", u.Name+": the name or the access key is taken", wire.EEXIST)
	}
	if err != nil {
		return nil, wire.Wrap("user.add", u.Name, err)
	}
	s.cache.drop()
	return &u, nil
}

// complete fills in what a given key pair lacks and checks the rest.
func (s *Store) complete(op string, k *Key) error {
	if k.Access == "" && k.Secret == "" {
		*k = GenerateKey(s.now())
	}
	if k.Created == 0 {
		k.Created = s.now()
	}
	if !ValidAccess(k.Access) {
		return wire.Errorf(op, "an access key has 3 to 128 letters, digits, _ and -", wire.EINVAL)
	}
	if !ValidSecret(k.Secret) {
		return wire.Errorf(op, "a secret key has 8 to 128 visible ASCII characters", wire.EINVAL)
	}
	return nil
}

// change runs one vector: compare, set (sorted here), remove.
func (s *Store) change(ctx context.Context, cmps []wire.OmapCmp, sets []wire.KV, removes []string) error {
	sortKVs(sets)
	sortKeys(removes)
	ops := []wire.Op{{Code: wire.OpOmapCmp, OmapCmps: cmps}}
	if len(removes) > 0 {
		ops = append(ops, wire.Op{Code: wire.OpOmapRmKeys, Keys: removes})
	}
	if len(sets) > 0 {
		ops = append(ops, wire.Op{Code: wire.OpOmapSetVals, KVs: sets})
	}
	_, err := s.do(ctx, ops...)
	return err
}

// update reads a user, lets edit change a copy, and writes it back; again
// from the start when somebody else was faster. edit may be called more than
// once.
func (s *Store) update(ctx context.Context, op, name string, edit func(*User) error) (*User, error) {
	for range maxRetries {
		old, raw, err := s.lookup(ctx, name)
		if err != nil {
			return nil, err
		}
		u := *old
		u.Keys = append([]Key(nil), old.Keys...)
		if err := edit(&u); err != nil {
			return nil, err
		}
		cmps := []wire.OmapCmp{expect(userPrefix+name, raw)}
		sets := []wire.KV{{Key: userPrefix + name, Value: encodeUser(&u)}}
		var removes []string
		for _, k := range old.Keys {
			if _, kept := u.Secret(k.Access); !kept {
				removes = append(removes, keyPrefix+k.Access)
			}
		}
		added := ""
		for _, k := range u.Keys {
			if _, had := old.Secret(k.Access); !had {
				added = k.Access
				cmps = append(cmps, expect(keyPrefix+k.Access, nil))
				sets = append(sets, wire.KV{Key: keyPrefix + k.Access, Value: encodeKey(name)})
			}
		}
		err = s.change(ctx, cmps, sets, removes)
		if err == nil {
			s.cache.drop()
			return &u, nil
		}
		if wire.ErrnoOf(err) != wire.ECANCELED {
			return nil, wire.Wrap(op, name, err)
		}
		if added != "" {
			if taken, err := s.get(ctx, keyPrefix+added); err == nil && taken != nil {
				return nil, wire.Errorf(op, name+": the access key is taken", wire.EEXIST)
			}
		}
	}
	return nil, wire.Errorf(op, name+": changed by others all the time", wire.EAGAIN)
}

// AddKey gives a user one more key pair, generated unless k has one. EINVAL
// when there are MaxKeys already. The pair is returned.
func (s *Store) AddKey(ctx context.Context, name string, k Key) (Key, error) {
	if err := s.complete("user.key", &k); err != nil {
		return Key{}, err
	}
	_, err := s.update(ctx, "user.key", name, func(u *User) error {
		if len(u.Keys) >= MaxKeys {
			return wire.Errorf("user.key", name+": has as many keys as it may", wire.EINVAL)
		}
		if _, there := u.Secret(k.Access); there {
			return wire.Errorf("user.key", name+": the access key is there already", wire.EEXIST)
		}
		u.Keys = append(u.Keys, k)
		return nil
	})
	return k, err
}

// RemoveKey takes a key pair away; ENOENT when the user doesn't have it.
func (s *Store) RemoveKey(ctx context.Context, name, access string) error {
	_, err := s.update(ctx, "user.key", name, func(u *User) error {
		for i := range u.Keys {
			if u.Keys[i].Access == access {
				u.Keys = append(u.Keys[:i], u.Keys[i+1:]...)
				return nil
			}
		}
		return wire.Errorf("user.key", name+": has no such access key", wire.ENOENT)
	})
	return err
}

// Rotate replaces all of a user's key pairs by one, generated unless k has
// one. The pair is returned.
func (s *Store) Rotate(ctx context.Context, name string, k Key) (Key, error) {
	if err := s.complete("user.rotate", &k); err != nil {
		return Key{}, err
	}
	_, err := s.update(ctx, "user.rotate", name, func(u *User) error {
		u.Keys = []Key{k}
		return nil
	})
	return k, err
}

// Remove takes a user and all its keys away; ENOENT. Its buckets stay, with
// their owner's name.
func (s *Store) Remove(ctx context.Context, name string) error {
	for range maxRetries {
		u, raw, err := s.lookup(ctx, name)
		if err != nil {
			return err
		}
		removes := []string{userPrefix + name}
		for _, k := range u.Keys {
			removes = append(removes, keyPrefix+k.Access)
		}
		err = s.change(ctx, []wire.OmapCmp{expect(userPrefix+name, raw)}, nil, removes)
		if err == nil {
			s.cache.drop()
			return nil
		}
		if wire.ErrnoOf(err) != wire.ECANCELED {
			return wire.Wrap("user.remove", name, err)
		}
	}
	return wire.Errorf("user.remove", name+": changed by others all the time", wire.EAGAIN)
}

// List gives all users in order of name, at most MaxUsers.
func (s *Store) List(ctx context.Context) ([]*User, error) {
	var out []*User
	after := userPrefix
	for {
		r, err := s.do(ctx, wire.Op{Code: wire.OpOmapGetVals, Name: after, Name2: userPrefix, Num: listPage})
		if err != nil {
			return nil, wire.Wrap("user.list", object, err)
		}
		if len(r.Results) == 0 || len(r.Results[0].KVs) == 0 {
			return out, nil
		}
		for _, kv := range r.Results[0].KVs {
			u, err := decodeUser(kv.Value)
			if err != nil {
				return nil, wire.Wrap("user.list", kv.Key, err)
			}
			if out = append(out, u); len(out) >= MaxUsers {
				return out, nil
			}
			after = kv.Key
		}
		if !r.Results[0].More {
			return out, nil
		}
	}
}

// Dump writes all users as text, one a line, without secrets.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	users, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		role := "user"
		if u.Admin {
			role = "admin"
		}
		_, err = fmt.Fprintf(w, "%s %s uid=%d gid=%d created=%s", role, u.Name, u.UID, u.GID, u.Created.Std().Format(time.RFC3339))
		for _, k := range u.Keys {
			_, e := fmt.Fprintf(w, " key=%s", k.Access)
			err = errors.Join(err, e)
		}
		_, e := fmt.Fprintln(w)
		if err = errors.Join(err, e); err != nil {
			return err
		}
	}
	return nil
}
