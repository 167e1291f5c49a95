package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/exspan/exspan/classify/knowledge"
	"github.com/exspan/exspan/exporter/share"
)

// user is a sensor or a viewer. The hub knows its public key.
type user struct {
	Name   string `json:"name"`
	Realm  string `json:"realm"`
	Viewer bool   `json:"viewer,omitempty"`
	Admin  bool   `json:"admin,omitempty"`
	Key    string `json:"nkey"`
}

// permissions returns the subjects to which a user may publish and subscribe.
func (u *user) permissions() (publish, subscribe []string) {
	if u.Admin {
		return share.AdminPermissions()
	}
	if u.Viewer {
		return share.ViewerPermissions(u.Realm, u.Name)
	}
	return share.Permissions(u.Realm, u.Name)
}

func (u *user) check() error {
	for _, s := range []string{u.Name, u.Realm} {
		if knowledge.CheckName(s) != nil {
			return fmt.Errorf("bad name %q: want 1 to %d bytes of printable text", s, knowledge.MaxName)
		}
	}
	return nil
}

func (h *hub) usersFile() string { return filepath.Join(h.dir, "users.json") }

// users reads the users; there are none before the first was added.
func (h *hub) users() ([]user, error) {
	data, err := os.ReadFile(h.usersFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []user
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", h.usersFile(), err)
	}
	for i := range list {
		if err := list[i].check(); err != nil {
			return nil, fmt.Errorf("%s: user %d: %w", h.usersFile(), i+1, err)
		}
		if !nkeys.IsValidPublicUserKey(list[i].Key) {
			return nil, fmt.Errorf("%s: %s: bad key %q", h.usersFile(), list[i].Name, list[i].Key)
		}
	}
	return list, nil
}

// save replaces the file of users.
func (h *hub) save(list []user) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	return replaceFile(h.usersFile(), append(data, '\n'), 0o600, true)
}

// replaceFile writes a file so that there is never half of it. If inherit is true and
// root writes it, it belongs to the owner of its folder: a service that runs as another
// user must be able to read what root adds to its folder.
func replaceFile(name string, data []byte, mode fs.FileMode, inherit bool) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if inherit && err == nil {
		err = giveToOwner(f, filepath.Dir(name))
	}
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// add adds a user and writes its secret key to a file.
func (h *hub) add(u user, file string) error {
	if err := u.check(); err != nil {
		return err
	}
	list, err := h.users()
	if err != nil {
		return err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	if u.Key, err = pair.PublicKey(); err != nil {
		return err
	}
	if err := replaceFile(file, append(seed, '\n'), 0o600, false); err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(x user) bool { return x.Name == u.Name && x.Realm == u.Realm })
	return h.save(append(list, u))
}

func (h *hub) remove(realm, name string) error {
	list, err := h.users()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(list), func(x user) bool { return x.Name == name && x.Realm == realm })
	if len(left) == len(list) {
		return fmt.Errorf("there is no user %s of realm %s", name, realm)
	}
	return h.save(left)
}

// config prints the users for the configuration file of a NATS server.
func (h *hub) config(w io.Writer) error {
	list, err := h.users()
	if err != nil {
		return err
	}
	fmt.Fprint(w, "jetstream: enabled\nauthorization {\n  users: [\n")
	for i := range list {
		publish, subscribe := list[i].permissions()
		p, s := subjects(publish), subjects(subscribe)
		fmt.Fprintf(w, "    # %s of realm %s\n    {nkey: %s, permissions: {publish: {allow: %s}, subscribe: {allow: %s}}}\n", list[i].Name, list[i].Realm, list[i].Key, p, s)
	}
	_, err = fmt.Fprint(w, "  ]\n}\n")
	return err
}

// subjects returns a list as the configuration file of a NATS server has it. Subjects have
// no characters that would have to be escaped.
func subjects(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return `["` + strings.Join(list, `", "`) + `"]`
}
