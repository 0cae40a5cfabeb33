package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// maxKept bounds a file of a backup in bytes; the largest, state.db, has a journal of 16 MiB in it at most.
const maxKept = 1 << 30

// backupFiles are what a backup consists of: what a node keeps in its state directory.
func backupFiles() []string { return append(pki.Kept(), stateFile) }

func backupCommand(c *cli) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that this machine's node must not lose into one file",
		Long: `Write all that this machine's node keeps into one file: its keys, at the Proxy those of the certificate authority and with
them the overlay, and what it remembers. The daemon may run meanwhile. Whoever has the file is the node: keep it where nobody
else reads it. A Proxy's is worth making again after "vnet ca rotate"; "vnet restore" takes it back, on the same machine or on
another in its place.`,
		Example: "  vnet backup /root/proxy.vnet",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(_ *cobra.Command, args []string) (err error) {
			if state == "" {
				if state, err = stateDir(c.overlay); err != nil {
					return err
				}
			}
			id, err := pki.LoadIdentity(state)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot back up: this machine is no node of overlay %s (nothing in %s)", c.overlay, state)
			}
			if err != nil {
				return err
			}
			if err := backup(state, args[0]); err != nil {
				return fmt.Errorf("cannot back up: %w", err)
			}
			return c.say(map[string]any{"file": args[0], "overlay": id.Overlay, "node": id.Name, "role": id.Role.String()},
				"%s holds %s %s of overlay %s; whoever has it is that node", args[0], id.Role, id.Name, id.Overlay)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "state `directory` (default: by overlay)")
	return cmd
}

// backup writes the file beside its place first: a full disk leaves no half of one.
func backup(state, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is there already: name another file", path)
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".vnet-backup-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	err = archive(out, state)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

// archive is a tar file of what there is. The store is copied last: what it says is then no older than the keys.
func archive(out *os.File, state string) error {
	t := tar.NewWriter(out)
	for _, name := range backupFiles() {
		path := filepath.Join(state, name)
		if name == stateFile {
			path = out.Name() + ".db"
			defer os.Remove(path)
			if err := store.Copy(filepath.Join(state, name), path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a host has no authority, and before its first start no memory
		}
		if err != nil {
			return err
		}
		head := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now(), Format: tar.FormatPAX}
		if err := t.WriteHeader(head); err != nil {
			return err
		}
		if _, err := t.Write(text); err != nil {
			return err
		}
	}
	return t.Close()
}

func restoreCommand(c *cli) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Be the node again that \"vnet backup\" wrote down",
		Long: `Be the node again that "vnet backup" wrote down, on a machine that has no state of the overlay: start it then with "vnet proxy"
or "vnet host". A Proxy that moves to another address needs to have the old one as well, or hosts whose token named only that
one do not find it.

What happened after the backup is learned from the other nodes as far as they know it: revoked keys, and who is a node. Links
and rules are put back to what the backup says. Tokens in it are void, for nobody knows which of them were used since.`,
		Example: "  vnet restore /root/proxy.vnet && vnet proxy --lan eth0",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			kept, err := readBackup(args[0])
			if err != nil {
				return fmt.Errorf("cannot restore: %w", err)
			}
			id, err := kept.identity()
			if err != nil {
				return fmt.Errorf("cannot restore: %s is no backup of a node: %w", args[0], err)
			}
			if cmd.Flags().Changed("overlay") && c.overlay != id.Overlay {
				return usagef("cannot restore overlay %s from this file: it is of %s", c.overlay, id.Overlay)
			}
			if state == "" {
				if state, err = stateDir(id.Overlay); err != nil {
					return err
				}
			}
			void, err := kept.restore(state)
			if err != nil {
				return fmt.Errorf("cannot restore: %w", err)
			}
			start := "vnet host"
			if id.Role == pki.RoleProxy {
				start = "vnet proxy"
			}
			more := ""
			if void > 0 {
				more = fmt.Sprintf("\n%d tokens that were good at the time of the backup are not any more; make new ones: vnet token create", void)
			}
			return c.say(map[string]any{"state": state, "overlay": id.Overlay, "node": id.Name, "role": id.Role.String(), "voidTokens": void},
				"%s is %s %s of overlay %s; start it with: %s --overlay %s%s", state, id.Role, id.Name, id.Overlay, start, id.Overlay, more)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "state `directory` (default: by overlay)")
	return cmd
}

// kept are the files of a backup, by name.
type kept map[string][]byte

func readBackup(path string) (kept, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	all := kept{}
	for t := tar.NewReader(in); ; {
		head, err := t.Next()
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s is no backup, or only a part of one: %w", path, err)
		case !slices.Contains(backupFiles(), head.Name) || head.Size > maxKept || all[head.Name] != nil:
			return nil, fmt.Errorf("%s is no backup: %q does not belong in one", path, head.Name)
		}
		if all[head.Name], err = io.ReadAll(t); err != nil {
			return nil, fmt.Errorf("%s is no backup, or only a part of one: %w", path, err)
		}
	}
}

// identity is whose backup it is.
func (k kept) identity() (*pki.Identity, error) {
	dir, err := os.MkdirTemp("", "vnet-restore-") // with mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := k.write(dir); err != nil {
		return nil, err
	}
	id, err := pki.LoadIdentity(dir)
	if err == nil && id.Role == pki.RoleProxy {
		if _, err = pki.LoadCA(dir); err == nil && k[stateFile] == nil {
			err = fmt.Errorf("it lacks %s", stateFile)
		}
	}
	return id, err
}

func (k kept) write(dir string) error {
	for _, name := range backupFiles() {
		if k[name] == nil {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(k[name])
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// restore fills a state directory, and says how many tokens it made void. Every file is ready before the first comes to its
// place; the directory itself may be a mount.
func (k kept) restore(state string) (void int, err error) {
	for _, name := range backupFiles() {
		if _, err := os.Lstat(filepath.Join(state, name)); err == nil {
			return 0, fmt.Errorf("%s holds a node already; stop its daemon and move what is in it away first", state)
		}
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return 0, err
	}
	fresh, err := os.MkdirTemp(state, ".restore-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(fresh)
	if err := k.write(fresh); err != nil {
		return 0, err
	}
	if k[stateFile] != nil {
		if void, err = voidTokens(filepath.Join(fresh, stateFile)); err != nil {
			return 0, err
		}
	}
	for _, name := range backupFiles() {
		if k[name] == nil {
			continue
		}
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(state, name)); err != nil {
			return 0, err
		}
	}
	return void, nil
}

func voidTokens(path string) (void int, err error) {
	db, err := store.Open(path)
	if err != nil {
		return 0, err
	}
	void, err = pki.Ledger{Shelf: db}.VoidTokens(time.Now())
	return void, errors.Join(err, db.Close())
}
