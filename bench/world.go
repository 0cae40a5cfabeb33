package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const (
	// wireRate and wireQueue are the demo's lines: the paper's cluster had 100 Mbit/s Ethernet (§4.1).
	wireRate  = 100_000_000
	wireQueue = 50 * time.Millisecond
	// cityDelay is one way to the Proxy of a network across the city: 5 ms there and back with what the lab itself adds.
	cityDelay = 2300 * time.Microsecond
)

// World is a lab with daemons of the program that was built for it.
type World struct {
	*lab.Lab
	*lab.Daemons
	Program string // the built vnet

	dir string
}

// Near is a lab of one site without limits: hosts host1 … with a VM each, and the Proxy beside them.
func Near(hosts int) *lab.Spec {
	s := &lab.Spec{Name: "near", Sites: []lab.Site{{Name: "cloud"}}, Hosts: []lab.Host{{Name: "proxy", Site: "cloud"}}, Overlay: lab.Overlay{Proxy: "proxy"}}
	for i := range hosts {
		host := fmt.Sprintf("host%d", i+1)
		s.Hosts = append(s.Hosts, lab.Host{Name: host, Site: "cloud"})
		s.VMs = append(s.VMs, lab.VM{Name: fmt.Sprintf("vm%d", i+1), Host: host})
	}
	return s
}

// City is the demo's lab and the paper's single cluster: lines of 100 Mbit/s, and the Proxy 5 ms away.
func City(hosts int) *lab.Spec {
	s := Near(hosts)
	s.Name = "city"
	s.Sites = append(s.Sites, lab.Site{Name: "home"})
	s.Hosts[0].Site = "home"
	for i := range s.Hosts {
		s.Hosts[i].Up, s.Hosts[i].Down, s.Hosts[i].Queue = wireRate, wireRate, wireQueue
	}
	s.Paths = []lab.WAN{{A: "cloud", B: "home", There: wan.Path{Delay: cityDelay}, Back: wan.Path{Delay: cityDelay}}}
	return s
}

// Start builds the program and the lab, and starts the overlay without adaptation.
func Start(ctx context.Context, spec *lab.Spec) (_ *World, err error) {
	w := &World{}
	if w.dir, err = os.MkdirTemp("", "vnet-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.End()
		}
	}()
	w.Program = filepath.Join(w.dir, "vnet")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", w.Program, "github.com/virtuoso-vnet/virtuoso/cmd/vnet").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the program: %w: %s", err, out)
	}
	if w.Lab, err = lab.Start(ctx, spec, lab.Options{}); err != nil {
		return nil, err
	}
	w.Daemons = w.Lab.Daemons(w.Program)
	if err := w.Daemons.Start(ctx); err != nil {
		return nil, err
	}
	if _, err := w.Vnet(ctx, "proxy", "adapt", "observe"); err != nil {
		return nil, err
	}
	return w, w.speak(ctx)
}

// speak has every VM say something, so that the overlay knows where all of them are.
func (w *World) speak(ctx context.Context) error {
	vms := w.Spec().VMs
	for i, vm := range vms {
		to := w.Address(vms[(i+1)%len(vms)].Name).String()
		if _, err := w.Output(ctx, vm.Name, "ping", "-c", "2", "-i", "0.2", "-W", "2", to); err != nil {
			return fmt.Errorf("cannot reach the next VM from %s: %w", vm.Name, err)
		}
	}
	return nil
}

// End removes everything.
func (w *World) End() error {
	var err error
	if w.Lab != nil {
		err = w.Lab.Close()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// Role runs a part of this very benchmark inside the lab, where it finds the built program as descriptor 3, hands it the
// order as JSON, and reads what it prints as JSON.
func (w *World) Role(ctx context.Context, in, role string, order, answer any) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	program, err := os.Open(w.Program)
	if err != nil {
		return err
	}
	defer program.Close()
	var out, complaint bytes.Buffer
	p, err := w.Command(in, []string{lab.Self}, lab.CmdOptions{
		Name: role, Stdin: bytes.NewReader(text), Stdout: &out, Stderr: &complaint, Files: []*os.File{program},
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = p.SignalGroup(9) })()
	end, err := p.Wait()
	if err == nil && !end.Success() {
		err = fmt.Errorf("cannot finish %s in %s: %v: %s", role, in, end, strings.TrimSpace(complaint.String()))
	}
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	return json.Unmarshal(out.Bytes(), answer)
}

// Serve is the other side of Role: it reads the order, and prints the answer or complains. The result is the exit code.
func Serve[Q, R any](part func(context.Context, Q) (R, error)) int {
	var order Q
	err := json.NewDecoder(os.Stdin).Decode(&order)
	if err == nil {
		var answer R
		if answer, err = part(context.Background(), order); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(answer)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
