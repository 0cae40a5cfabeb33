package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Exit codes, stable for scripts.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3   // no daemon answers on the socket
	exitInterrupted = 130 // Ctrl-C, or asked to end: 128 + SIGINT, as shells have it
)

// cli is what the commands share: the streams, and the flags every command has. One invocation owns one.
type cli struct {
	in       io.Reader
	out, err io.Writer

	overlay string
	socket  string // empty: derived from overlay
	remote  string // the Proxy's HOST:PORT; empty: the socket
	key     string // file of the client's identity, with remote
	node    string // the node that is to answer; empty: the daemon of the socket
	output  string // table or json

	started bool // a command's own code ran: an error before that is one of usage
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	c := &cli{in: in, out: out, err: errOut}
	root := c.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var code codeError
	if errors.As(err, &code) {
		return int(code)
	}
	var usage usageError
	if !c.started || errors.As(err, &usage) {
		if strings.Contains(err.Error(), " arg(s)") { // cobra counts, and does not say what is wanted
			err = fmt.Errorf("cannot do this: the command is %s", cmd.UseLine())
		}
		c.complain(err.Error(), strings.TrimLeft(meant(cmd, args)+fmt.Sprintf("\nsee: %s --help", cmd.CommandPath()), "\n"))
		return exitUsage
	}
	if errors.Is(err, fs.ErrPermission) && errors.Is(err, errUnreachable) {
		c.complain(err.Error(), "its socket is for its own user and root; use sudo, or have root start the daemon with --api-group vnet and join that group: usermod -aG vnet "+userName()+", then log in anew")
		return exitUnreachable
	}
	if errors.Is(err, errUnreachable) && c.remote != "" {
		c.complain(err.Error(), "see whether the Proxy runs (there: vnet status), and whether its tcp port can be reached from here; --remote wants HOST:PORT")
		return exitUnreachable
	}
	if errors.Is(err, errUnreachable) {
		c.complain(err.Error(), cmp.Or(c.others(), "start one with: vnet host, or vnet proxy; or name its socket with --socket"))
		return exitUnreachable
	}
	if ctx.Err() != nil { // whatever the command was waiting for, this is why it did not come
		c.complain("cannot go on: interrupted", "")
		return exitInterrupted
	}
	e := api.AsError(err)
	c.complain(e.Message, cmp.Or(e.Hint, wayOut(err)))
	return exitFailure
}

// others says which overlays do have a daemon here, when the socket was looked for by the overlay's name; empty when none has.
func (c *cli) others() string {
	if c.socket != "" {
		return ""
	}
	names := served(c.overlay, filepath.Dir(socketPath(c.overlay)), systemSockets)
	if len(names) == 0 {
		return ""
	}
	return "this machine has a daemon of another overlay: --overlay " + strings.Join(names, ", or --overlay ")
}

// served are the overlays that have a socket in one of these directories, without the one named.
func served(but string, dirs ...string) (names []string) {
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(dir, "*.sock")) // an error is a pattern's
		for _, path := range found {
			if name := strings.TrimSuffix(filepath.Base(path), ".sock"); name != but && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// wayOut says what to do about what the system refused; empty when there is nothing to add.
func wayOut(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "find who has the port: ss -lpn; end that, or give the daemon another: --listen 0.0.0.0:PORT"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS):
		return "see: vnet doctor; another directory is chosen with --state"
	}
	return ""
}

// meant guesses which command somebody mistyped; empty when there is no guess.
func meant(root *cobra.Command, args []string) string {
	if root.HasParent() {
		return ""
	}
	var near []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		for _, name := range root.SuggestionsFor(arg) {
			near = append(near, "vnet "+name)
		}
		break
	}
	if len(near) == 0 {
		return ""
	}
	return "did you mean: " + strings.Join(near, ", or ")
}

// complain writes an error the way every command does.
func (c *cli) complain(message, hint string) {
	if !strings.HasPrefix(message, "cannot ") {
		message = "cannot do this: " + message
	}
	fmt.Fprintf(c.err, "vnet: %s\n", message)
	for _, line := range strings.Split(hint, "\n") {
		if line != "" {
			fmt.Fprintf(c.err, "hint: %s\n", line)
		}
	}
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vnet",
		Short: "One Ethernet LAN for machines at many sites, reshaping itself for what runs on them",
		Long: `One Ethernet LAN for machines at many sites, reshaping itself for what runs on them.

  vnet demo                  see it work, on this machine alone: it needs no configuration and leaves nothing behind
  vnet proxy --lan eth0      found an overlay on a machine of your LAN; it prints what to type on the next machine:
  vnet join TOKEN            be on that LAN
  vnet status                how the node of this machine is; -o json for programs
  vnet doctor                what keeps this machine from being a node, and what to do about it

Exit codes: 0 it is done; 1 it failed, or what was asked is not so (doctor, check, trace, replay, fmt -l); 2 the command line makes
no sense; 3 no daemon answers; 130 interrupted. diff says 0 same, 1 different, 2 unknown; lab exec says what its program says.`,
		Example: `  vnet status
  vnet links --node host2 -o json
  vnet rule add --from any --src any --dst 02:00:00:00:00:01 --to link:host2`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2, // letters, for: did you mean

		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd) },
		RunE:              c.do(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	flags := root.PersistentFlags()
	flags.StringVar(&c.overlay, "overlay", defaultOverlay, "`name` of the overlay")
	flags.StringVar(&c.socket, "socket", os.Getenv("VNET_SOCKET"), "`path` of the daemon's socket (default: by overlay; environment VNET_SOCKET)")
	flags.StringVar(&c.remote, "remote", os.Getenv("VNET_REMOTE"), "`HOST:PORT` of a Proxy to ask over the network instead (environment VNET_REMOTE)")
	flags.StringVar(&c.key, "identity", os.Getenv("VNET_IDENTITY"), "`file` of vnet client create, with --remote (environment VNET_IDENTITY)")
	flags.StringVar(&c.node, "node", "", "`name` of the node that is to answer (default: the daemon of the socket)")
	flags.StringVarP(&c.output, "output", "o", "table", "`format`: table or json")
	completeFor(root, "output", func(cmd *cobra.Command) []string {
		return append([]string{"table", "json"}, strings.Fields(cmd.Annotations[formatsKey])...)
	})
	complete(root, "node", c.nodeNames)
	addCommands(root, c)
	return root
}

// flagError says in words what kind of value a flag wants, where the library says how it failed to read it.
func flagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	kind := bad.GetFlag().Value.Type()
	want, ok := map[string]string{
		"int": "a whole number", "int32": "a whole number", "uint16": "a whole number from 0 to 65535", "uint32": "a whole number from 0", "uint64": "a whole number from 0",
		"float64": "a number", "duration": "a duration, such as 200ms, 10s or 5m", "bool": "true or false",
	}[kind]
	if !ok {
		return err
	}
	return usagef("cannot use %q for --%s: give %s", bad.GetValue(), bad.GetFlag().Name, want)
}

// check refuses flags that make no sense before any command runs.
func (c *cli) check(cmd *cobra.Command) error {
	if more := cmd.Annotations[formatsKey]; c.output != "table" && c.output != "json" && !slices.Contains(strings.Fields(more), c.output) {
		forms := append([]string{"table", "json"}, strings.Fields(more)...)
		last := len(forms) - 1
		return usagef("cannot print as %q: give -o %s or %s", c.output, list(forms[:last]), forms[last])
	}
	if cmd.Annotations[plainKey] != "" && c.output == "json" {
		return usagef("cannot print as json: %s prints %s", cmd.CommandPath(), cmd.Annotations[plainKey])
	}
	if err := overlay.ValidName(c.overlay); err != nil {
		return usagef("cannot use --overlay: %w", err)
	}
	if c.node != "" {
		if err := overlay.ValidName(c.node); err != nil {
			return usagef("cannot use --node: %w", err)
		}
	}
	return nil
}

// formatsKey is the annotation of commands that print in further formats.
const formatsKey = "formats"

// plainKey is the annotation of commands that have no JSON: what they print instead.
const plainKey = "plain"

// formats says in what else a command can print.
func formats(more ...string) map[string]string {
	return map[string]string{formatsKey: strings.Join(more, " ")}
}

// do wraps a command's code, so that run can tell its errors from those of the command line.
func (c *cli) do(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.started = true
		return f(cmd, args)
	}
}

// group makes a command that only holds others.
func (c *cli) group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, child := range cmd.Commands() {
			names = append(names, child.Name())
		}
		return usagef("cannot do %q: give one of %s", strings.Join(append([]string{cmd.CommandPath()}, args...), " "), strings.Join(names, ", "))
	}}
	cmd.RunE = c.do(func(*cobra.Command, []string) error { return nil }) // never reached: Args refuses; it makes cobra check Args
	cmd.AddCommand(children...)
	return cmd
}

// complete offers values for a flag in the shell.
func complete(cmd *cobra.Command, flag string, values func() []string) {
	completeFor(cmd, flag, func(*cobra.Command) []string { return values() })
}

// completeFor is complete with values that depend on the command the flag is given to.
func completeFor(cmd *cobra.Command, flag string, values func(*cobra.Command) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return values(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("vnet: completion of a flag that does not exist: " + flag)
	}
}
