package e2e

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
)

// program of Debian's that talks MPI.
type mpiProgram struct {
	name    string
	title   string
	file    string // its input, in the directory it runs in
	text    string
	command []string
	proof   string // file that says how it went; "" is its output
	success string // in it
	pattern string // among the names of what is inferred
}

// mpiPrograms are unmodified and run to their end: in the short form small problems, of some seconds each.
func mpiPrograms(long bool) []mpiProgram {
	size, steps := 200, 300
	if long {
		size, steps = 1200, 1000
	}
	return []mpiProgram{{
		name: "hpcc", title: "HPC Challenge",
		file: "hpccinf.txt", text: fmt.Sprintf(hpccInput, size), command: []string{"hpcc"},
		proof: "hpccoutf.txt", success: "\nSuccess=1", pattern: "alltoall",
	}, {
		name: "lammps", title: "LAMMPS (Lennard-Jones melt)",
		file: "in.melt", text: fmt.Sprintf(meltInput, steps), command: []string{"lmp", "-in", "in.melt"},
		success: fmt.Sprintf("on 4 procs for %d steps", steps), pattern: "ring",
	}}
}

// hpccInput runs all of HPC Challenge on a grid of two by two: it is the pattern that counts, not the score.
const hpccInput = `HPLinpack benchmark input file
by the tests
HPL.out      output file name (if any)
8            device out (6=stdout,7=stderr,file)
1            # of problems sizes (N)
%d           Ns
1            # of NBs
80           NBs
0            PMAP process mapping (0=Row-,1=Column-major)
1            # of process grids (P x Q)
2            Ps
2            Qs
16.0         threshold
1            # of panel fact
2            PFACTs (0=left, 1=Crout, 2=Right)
1            # of recursive stopping criterium
4            NBMINs (>= 1)
1            # of panels in recursion
2            NDIVs
1            # of recursive panel fact.
1            RFACTs (0=left, 1=Crout, 2=Right)
1            # of broadcast
1            BCASTs (0=1rg,1=1rM,2=2rg,3=2rM,4=Lng,5=LnM)
1            # of lookahead depth
1            DEPTHs (>=0)
2            SWAP (0=bin-exch,1=long,2=mix)
64           swapping threshold
0            L1 in (0=transposed,1=no-transposed) form
0            U  in (0=transposed,1=no-transposed) form
1            Equilibration (0=no,1=yes)
8            memory alignment in double (> 0)
##### This line (no. 32) is ignored (it serves as a separator). ######
0                               Number of additional problem sizes for PTRANS
1200 10000 30000                values of N
0                               number of additional blocking sizes for PTRANS
40 9 8 13 13 20 16 32 64        values of NB
`

// meltInput is LAMMPS's benchmark "melt" in slabs along x, periodic: each VM has two neighbours.
const meltInput = `units       lj
atom_style  atomic
processors  4 1 1
lattice     fcc 0.8442
region      box block 0 32 0 16 0 16
create_box  1 box
create_atoms 1 box
mass        1 1.0
velocity    all create 3.0 87287
pair_style  lj/cut 2.5
pair_coeff  1 1 1.0 1.0 2.5
neighbor    0.3 bin
fix         1 all nve
thermo      50
run         %d
`

// mpi runs an MPI program over the VMs, a rank in each, to its end, and returns what it said and what OpenMPI itself counted
// of what each rank sent to each other, in bytes.
func (w *world) mpi(vms []string, p mpiProgram) (said string, sent map[[2]string]uint64) {
	w.Helper()
	w.run(vms[0], "sh", "-c", "cat > /tmp/"+p.file+" <<'END'\n"+p.text+"END")
	args := slices.Concat(vms, []string{"--", "--mca", "pml_monitoring_enable", "1", "--mca", "pml_monitoring_enable_output", "3",
		"--mca", "pml_monitoring_filename", "/tmp/sent"}, p.command)
	cmd := exec.CommandContext(w.Context(), "../scripts/mpi", args...)
	cmd.Env = append(os.Environ(), "VNET="+program, "LAB="+w.Spec().Name)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		w.Fatalf("%s: %v: %s %s", p.name, err, &out, &complaint)
	}
	sent = map[[2]string]uint64{}
	for rank, vm := range vms {
		for line := range strings.Lines(w.run(vm, "cat", fmt.Sprintf("/tmp/sent.%d.prof", rank))) {
			var from, to int
			var n uint64
			if got, _ := fmt.Sscanf(line, "E\t%d\t%d\t%d bytes", &from, &to, &n); got == 3 && from == rank {
				sent[[2]string{vm, vms[to]}] = n
			}
		}
	}
	return out.String(), sent
}

type trafficAnswer struct {
	Entries []struct {
		Src, Dst     string
		OfferedBytes string // a number, in JSON of protobuf
	}
}

// offered is how many bytes the overlay saw from each VM to each other.
func (w *world) offered() map[[2]string]uint64 {
	w.Helper()
	saw := map[[2]string]uint64{}
	for _, e := range ask[trafficAnswer](w, "proxy", "traffic").Entries {
		saw[[2]string{e.Src, e.Dst}], _ = strconv.ParseUint(e.OfferedBytes, 10, 64)
	}
	return saw
}

// Figure 5 of the paper with real applications: unmodified MPI programs over four VMs, a rank in each, started by lab exec.
// What the overlay saw of each pair is at least what OpenMPI says that the program sent. FIG5_OUT names a directory for the
// pictures of what was inferred, and asks for the longer runs.
func TestAnUnmodifiedMPIProgramIsSeen(t *testing.T) {
	dir := os.Getenv("FIG5_OUT")
	for _, p := range mpiPrograms(dir != "") {
		t.Run(p.name, func(t *testing.T) {
			needs(t, "mpirun", "bash", p.command[0])
			w := start(t, strings.Replace(fourHosts, "name: four", "name: mpi-"+p.name, 1))
			go w.Serve(w.Context()) // until the test ends; what is wrong with it shows when it is asked
			w.eventually(5*time.Second, "the lab answers", func() bool {
				return exec.Command(program, "lab", "exec", "--lab", w.Spec().Name, "vm1", "--", "true").Run() == nil
			})
			vms := []string{"vm1", "vm2", "vm3", "vm4"}
			began := time.Now()
			said, sent := w.mpi(vms, p)
			took := time.Since(began)
			app := ask[appAnswer](w, "proxy", "app")
			if p.proof != "" {
				said = w.run("vm1", "cat", "/tmp/"+p.proof)
			}
			if !strings.Contains(said, p.success) {
				t.Errorf("%s did not succeed: %s", p.name, said[max(0, len(said)-3000):])
			}
			w.sawAll(sent)
			if len(app.App.Groups) != 1 {
				t.Fatalf("inferred %+v", app)
			}
			g := app.App.Groups[0]
			t.Logf("%s over %v: %v of %d, %d edges, period %s (%.2f)", p.name, took.Round(time.Second), g.Names, len(g.Vms), len(g.Edges), g.Goal.Period, g.Goal.Confidence)
			if !slices.Contains(g.Names, p.pattern) || len(g.Vms) != len(vms) {
				t.Errorf("inferred %+v, want %s", g, p.pattern)
			}
			if dir != "" {
				w.draw(dir, p, vms, g.Name, app, sent)
			}
		})
	}
}

// sawAll compares what the overlay saw with what the program sent. The last frames are reported a tenth of a second later.
func (w *world) sawAll(sent map[[2]string]uint64) {
	w.Helper()
	if len(sent) != 12 {
		w.Fatalf("OpenMPI says of %d pairs what they sent, want 12", len(sent))
	}
	var total, most uint64
	missing := func() (text string) {
		saw := w.offered()
		total, most = 0, 0
		for pair, n := range sent {
			total, most = total+n, most+saw[pair]
			if saw[pair] < n {
				text += fmt.Sprintf("%v sent %d bytes, the overlay saw %d; ", pair, n, saw[pair])
			}
		}
		return text
	}
	w.eventually(3*time.Second, "the overlay has seen as many bytes as the program sent: "+missing(), func() bool { return missing() == "" })
	w.Logf("the ranks sent each other %d bytes, the overlay saw %d", total, most)
}

// draw writes the graph that was inferred, and beside it what each pair sent.
func (w *world) draw(dir string, p mpiProgram, vms []string, name string, app appAnswer, sent map[[2]string]uint64) {
	w.Helper()
	picture := figures.Graph{Title: p.title + ": " + name, VMs: vms}
	rows := [][]string{{"a", "b", "weight inferred", "bytes that OpenMPI counted, both ways", "bytes that the overlay saw, both ways"}}
	saw := w.offered()
	weight := map[[2]string]string{}
	for _, e := range app.App.Groups[0].Edges {
		text := fmt.Sprintf("%.2f", e.Weight)
		weight[[2]string{min(e.A, e.B), max(e.A, e.B)}] = text
		picture.Edges = append(picture.Edges, figures.GraphEdge{A: slices.Index(vms, e.A), B: slices.Index(vms, e.B), Weight: e.Weight, Label: text})
	}
	for i, a := range vms {
		for _, b := range vms[i+1:] {
			there, back := [2]string{a, b}, [2]string{b, a}
			rows = append(rows, []string{a, b, cmp.Or(weight[there], "none"), fmt.Sprint(sent[there] + sent[back]), fmt.Sprint(saw[there] + saw[back])})
		}
	}
	for ext, write := range map[string]func(io.Writer) error{
		".svg": picture.SVG,
		".csv": func(f io.Writer) error { return csv.NewWriter(f).WriteAll(rows) },
	} {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "fig5-"+p.name+ext), text.Bytes(), 0o644); err != nil {
			w.Fatal(err)
		}
	}
}
