package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func manCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, made of the same text as --help",
		Example: `  vnet man /usr/local/share/man/man1
  man vnet-apply`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("cannot write manual pages: %w", err)
			}
			n, err := writePages(cmd.Root(), args[0])
			if err == nil {
				err = c.say(map[string]any{"pages": n, "directory": args[0]}, "%d pages written to %s", n, args[0])
			}
			return err
		}),
	}
}

// writePages writes the page of a command and those of the commands below it.
func writePages(cmd *cobra.Command, dir string) (n int, err error) {
	path := filepath.Join(dir, pageName(cmd)+".1")
	if err := os.WriteFile(path, []byte(page(cmd)), 0o644); err != nil {
		return 0, fmt.Errorf("cannot write manual pages: %w", err)
	}
	n = 1
	for _, child := range cmd.Commands() {
		if !child.IsAvailableCommand() || child.Name() == "help" {
			continue
		}
		more, err := writePages(child, dir)
		if err != nil {
			return n, err
		}
		n += more
	}
	return n, nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page is one manual page in the macros of man(7).
func page(cmd *cobra.Command) string {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	put(`.TH "%s" 1 "" "Virtuoso" "vnet"`, strings.ToUpper(pageName(cmd)))
	put(".SH NAME\n%s \\- %s", roff(pageName(cmd)), roff(cmd.Short))
	put(".SH SYNOPSIS\n.B %s", roff(cmd.UseLine()))
	if cmd.Long != "" {
		put(".SH DESCRIPTION\n.nf\n%s\n.fi", roff(cmd.Long))
	}
	flags := func(title string, set *pflag.FlagSet) {
		if !set.HasAvailableFlags() {
			return
		}
		put(".SH %s", title)
		set.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			value, usage := pflag.UnquoteUsage(f)
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			put(".TP\n.B %s\n%s", roff(strings.TrimSpace(name+" "+value)), roff(usage))
		})
	}
	flags("OPTIONS", cmd.NonInheritedFlags())
	flags("OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	if cmd.Example != "" {
		put(".SH EXAMPLES\n.nf\n%s\n.fi", roff(cmd.Example))
	}
	var others []string
	if cmd.HasParent() {
		others = append(others, roff(pageName(cmd.Parent()))+"(1)")
	}
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && child.Name() != "help" {
			others = append(others, roff(pageName(child))+"(1)")
		}
	}
	if len(others) > 0 {
		put(".SH SEE ALSO\n%s", strings.Join(others, ", "))
	}
	return b.String()
}

// roff keeps text from being taken for macros: backslashes, hyphens, and dots and quotes at the beginning of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
