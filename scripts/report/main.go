// Command report reads the output of go test -json and prints what a person wants to see of it.
//
// It prints each package's closing line as it comes, the whole output of what failed, the figures that tests of chosen
// packages logged, and appends each test that was skipped, with its reason, to a file. It judges nothing: the exit code
// is that of go test.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

func main() {
	skipped := flag.String("skipped", "", "append what was skipped, and why, to this `file`")
	figures := flag.String("figures", "^$", "print what the tests of packages that match this `regexp` logged")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *skipped, *figures); err != nil {
		fmt.Fprintln(os.Stderr, "cannot report:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, skipped, figures string) error {
	chosen, err := regexp.Compile(figures)
	if err != nil {
		return err
	}
	r := &reporter{out: out, figures: chosen, said: map[string][]string{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20) // a test may log a whole table on one line
	for lines.Scan() {
		var ev event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			fmt.Fprintln(out, lines.Text()) // go's own complaint
			continue
		}
		r.take(ev)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return r.keep(skipped)
}

// reporter holds what tests said until it is known what became of them.
type reporter struct {
	out     io.Writer
	figures *regexp.Regexp
	said    map[string][]string // by package and test
	skips   []string
}

func (r *reporter) take(ev event) {
	key := ev.Package + " " + ev.Test
	switch ev.Action {
	case "build-output":
		fmt.Fprint(r.out, ev.Output)
	case "output":
		if ev.Test == "" && closing(ev.Output) {
			fmt.Fprint(r.out, ev.Output)
			return
		}
		r.said[key] = append(r.said[key], ev.Output)
	case "skip":
		if ev.Test != "" {
			r.skips = append(r.skips, fmt.Sprintf("%s: %s", strings.TrimSpace(key), reason(r.said[key])))
		}
		delete(r.said, key)
	case "fail":
		fmt.Fprint(r.out, strings.Join(r.said[key], ""))
		delete(r.said, key)
	case "pass":
		if r.figures.MatchString(ev.Package) && ev.Test != "" {
			for _, line := range logged(r.said[key]) {
				fmt.Fprintf(r.out, "    %s: %s\n", ev.Test, line)
			}
		}
		delete(r.said, key)
	}
}

// closing tells whether a line of a package is one that go test prints without -v.
func closing(line string) bool {
	for _, begin := range []string{"ok  \t", "FAIL\t", "?   \t", "---\t"} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// logged are the lines a test logged itself, without what go test says about it.
func logged(output []string) []string {
	place := regexp.MustCompile(`^\s+\S+\.go:\d+: `)
	var lines []string
	for _, line := range output {
		if at := place.FindString(line); at != "" {
			lines = append(lines, strings.TrimSpace(line[len(at):]))
		}
	}
	return lines
}

func reason(output []string) string {
	if lines := logged(output); len(lines) > 0 {
		return strings.Join(lines, "; ")
	}
	return "no reason given"
}

func (r *reporter) keep(path string) error {
	if path == "" || len(r.skips) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, strings.Join(r.skips, "\n"))
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
