package arch

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// longest is how many lines a function may have; what has more than screenful is named in the log.
const (
	longest   = 80
	screenful = 60
)

// Every package says in one sentence what it is, in one file.
func TestEveryPackageHasOneSentence(t *testing.T) {
	said := map[string][]string{} // by folder: files with a package comment
	folders := map[string]bool{}
	for _, root := range []string{"../../internal", "../../cmd", "../../e2e", "../../bench", "../../experiments", "../../scripts"} {
		walk(t, root, func(path string, f *ast.File) {
			if strings.HasSuffix(path, "_test.go") {
				return
			}
			dir := filepath.Dir(path)
			folders[dir] = true
			if f.Doc == nil {
				return
			}
			said[dir] = append(said[dir], path)
			if first, _, _ := strings.Cut(f.Doc.Text(), "\n\n"); !oneSentence(first) {
				t.Errorf("%s: the package comment begins with more, or less, than one sentence: %q", path, first)
			}
			begins := "Package " + f.Name.Name + " "
			if f.Name.Name == "main" {
				begins = "Command " + filepath.Base(dir) + " "
			}
			if !strings.HasPrefix(f.Doc.Text(), begins) {
				t.Errorf("%s: the package comment begins with %.30q, not with %q", path, f.Doc.Text(), begins)
			}
		})
	}
	for dir := range folders {
		if n := len(said[dir]); n != 1 {
			t.Errorf("%s: %d files say what the package is (%v); one should", dir, n, said[dir])
		}
	}
}

// oneSentence tells whether a paragraph ends with the only full stop that is followed by a space or by nothing.
func oneSentence(paragraph string) bool {
	text := strings.Join(strings.Fields(paragraph), " ")
	return strings.Index(text+" ", ". ") == len(text)-1
}

// State that a package keeps to itself has no owner: everything mutable lives in a value that somebody made.
func TestNothingIsHiddenInPackages(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: it has an init function; make what it makes in a constructor", f.path)
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					hidden(t, f.path, d)
				}
			}
		}
	}
}

// hidden objects to package variables that are neither error sentinels, nor checks assigned to nothing.
func hidden(t *testing.T, path string, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for i, name := range v.Names {
			if name.Name == "_" || i < len(v.Values) && makesError(v.Values[i]) || embedded(d) {
				continue
			}
			t.Errorf("%s: package variable %s; make it a constant, a function or a field", path, name.Name)
		}
	}
}

func makesError(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	called, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (called.Sel.Name == "New" || called.Sel.Name == "Errorf") && isPackage(called.X, "errors", "fmt")
}

func isPackage(x ast.Expr, names ...string) bool {
	id, ok := x.(*ast.Ident)
	if !ok {
		return false
	}
	for _, n := range names {
		if id.Name == n {
			return true
		}
	}
	return false
}

func embedded(d *ast.GenDecl) bool {
	return d.Doc != nil && strings.Contains(d.Doc.List[len(d.Doc.List)-1].Text, "go:embed")
}

func TestFunctionsFitOnAScreen(t *testing.T) {
	for _, root := range []string{"../../internal", "../../cmd"} {
		fset := token.NewFileSet()
		walkWith(t, fset, root, func(path string, f *ast.File) {
			if strings.HasSuffix(path, "_test.go") {
				return
			}
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
				switch {
				case lines > longest:
					t.Errorf("%s: %s has %d lines; the house allows %d", path, fn.Name.Name, lines, longest)
				case lines > screenful:
					t.Logf("%s: %s has %d lines; %d is what fits on a screen", path, fn.Name.Name, lines, screenful)
				}
			}
		})
	}
}

// A path of the machine that something was written on means nothing on any other.
func TestNoFileNamesTheMachineItWasWrittenOn(t *testing.T) {
	foreign := []string{"/wor" + "k/", "/roo" + "t/go", "bash" + "_jobs", "/home" + "/runner"}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || path == "../../bin") {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() || entry.Name() == ".git" { // a file in a second work tree
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil || !utf8.Valid(data) {
			return err
		}
		for _, text := range foreign {
			if strings.Contains(string(data), text) {
				t.Errorf("%s: it contains %q", path, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
