package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/virtuoso-vnet/virtuoso/"

// rooms is the order of the house, top to bottom: a room imports only rooms
// that stand above it. cmd imports any; api imports none of ours.
func rooms() []string {
	return []string{
		"ether", "wan", "workload", "overlay", "lang", "forward", "vttif", "underlay", "adapt", "control",
		"simnet", "port", "pki", "store", "link", "seal", "patterns",
		"node", "proxy", "server", "dashboard", "lab",
	}
}

// pure is how many of the rooms, from the top, ask the world nothing.
const pure = 10

// doors are the packages a pure room must not open: they are the world, its
// clock, its dice or its locks.
func doors() []string {
	return []string{"os", "net", "context", "sync", "syscall", "io/fs", "os/exec", "os/signal", "crypto/rand", "log", "log/slog"}
}

type file struct {
	room    string
	path    string
	test    bool
	imports []string
	ast     *ast.File
}

func TestImportsFlowDown(t *testing.T) {
	order := rooms()
	for _, f := range tree(t) {
		at := slices.Index(order, f.room)
		if at < 0 {
			t.Errorf("%s: room %q is not in the table of internal/arch; add it there and to docs/design.md", f.path, f.room)
			continue
		}
		for _, imported := range f.imports {
			other, ours := strings.CutPrefix(imported, module+"internal/")
			if !ours {
				continue
			}
			other, _, _ = strings.Cut(other, "/")
			if other == f.room {
				continue
			}
			if below := slices.Index(order, other); below >= at && !f.test {
				t.Errorf("%s: %s imports %s, which stands below it", f.path, f.room, other)
			}
		}
	}
}

func TestPureRoomsAskTheWorldNothing(t *testing.T) {
	order := rooms()
	for _, f := range tree(t) {
		if f.test || slices.Index(order, f.room) >= pure {
			continue
		}
		for _, imported := range f.imports {
			if slices.Contains(doors(), imported) {
				t.Errorf("%s: pure room %s imports %s", f.path, f.room, imported)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: pure room %s starts a goroutine", f.path, f.room)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && worldly(pkg.Name, n.Sel.Name) {
					t.Errorf("%s: pure room %s calls %s.%s", f.path, f.room, pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// worldly tells whether a call reads the machine's clock or the global dice.
func worldly(pkg, name string) bool {
	switch pkg {
	case "time":
		return slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, name)
	case "rand":
		return !slices.Contains([]string{"Rand", "New", "NewPCG", "NewChaCha8", "Source", "PCG", "ChaCha8", "Zipf", "NewZipf"}, name)
	}
	return false
}

func TestPublicAPIImportsNothingOfOurs(t *testing.T) {
	walk(t, "../../api", func(path string, f *ast.File) {
		for _, spec := range f.Imports {
			if p := strings.Trim(spec.Path.Value, `"`); strings.HasPrefix(p, module+"internal/") {
				t.Errorf("%s imports %s: agents import the api, so it may import nothing of ours", path, p)
			}
		}
	})
}

func TestNoRoomIsAJunkDrawer(t *testing.T) {
	for _, f := range tree(t) {
		for _, name := range []string{"util", "utils", "common", "types", "models", "helpers"} {
			if filepath.Base(filepath.Dir(f.path)) == name {
				t.Errorf("%s: a package named %s says nothing about what it holds", f.path, name)
			}
		}
	}
}

// Packages that outgrow a sitting are where nobody wants to live.
func TestFilesAreReadInOneSitting(t *testing.T) {
	for _, root := range []string{"../../internal", "../../cmd"} {
		walk(t, root, func(path string, _ *ast.File) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), "\n"); n > 500 && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s has %d lines; the house allows 500", path, n)
			}
		})
	}
}

func tree(t *testing.T) []file {
	t.Helper()
	var files []file
	walk(t, "..", func(path string, f *ast.File) {
		room, _, _ := strings.Cut(strings.TrimPrefix(filepath.ToSlash(path), "../"), "/")
		if room == "arch" {
			return
		}
		one := file{room: room, path: path, test: strings.HasSuffix(path, "_test.go"), ast: f}
		for _, spec := range f.Imports {
			one.imports = append(one.imports, strings.Trim(spec.Path.Value, `"`))
		}
		files = append(files, one)
	})
	if len(files) == 0 {
		t.Fatal("found no source files below internal: the test looks in the wrong place")
	}
	return files
}

func walk(t *testing.T, root string, visit func(path string, f *ast.File)) {
	t.Helper()
	walkWith(t, token.NewFileSet(), root, visit)
}

func walkWith(t *testing.T, fset *token.FileSet, root string, visit func(path string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "testdata" {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path, f)
		return nil
	})
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
}
