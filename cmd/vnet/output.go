package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// show prints an answer as the user asked: the message in JSON, or what table makes of it.
func (c *cli) show(resp proto.Message, table func(t *table)) error {
	if c.output == "json" {
		text, err := stableJSON(resp, "  ")
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	}
	t := newTable(c)
	table(t)
	return t.w.Flush()
}

// say prints what a command that asks no daemon has done: facts in JSON, or the same in words.
func (c *cli) say(facts map[string]any, format string, args ...any) (err error) {
	if c.output == "json" {
		return json.NewEncoder(c.out).Encode(facts)
	}
	_, err = fmt.Fprintf(c.out, format+"\n", args...)
	return err
}

// stableJSON is a message in the JSON of protobuf with every field, also those that are zero, and always the same spaces:
// protojson itself varies them on purpose. An empty indent gives one line.
func stableJSON(m proto.Message, indent string) ([]byte, error) {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the answer: %w", err)
	}
	var out bytes.Buffer
	if err = json.Compact(&out, raw); err == nil && indent != "" {
		flat := bytes.Clone(out.Bytes())
		out.Reset()
		err = json.Indent(&out, flat, "", indent)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encode the answer: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// table aligns rows of cells; an empty cell shows as "-", and a cell of several lines as one.
type table struct{ w *tabwriter.Writer }

func newTable(c *cli) *table { return &table{tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)} }

func (t *table) row(cells ...any) {
	text := make([]string, len(cells))
	for i, cell := range cells {
		if text[i] = strings.ReplaceAll(fmt.Sprint(cell), "\n", "; "); text[i] == "" {
			text[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(text, "\t"))
}

// line ends the alignment of the rows above and writes a line of prose.
func (t *table) line(format string, args ...any) {
	t.w.Flush()
	fmt.Fprintf(t.w, format+"\n", args...)
	t.w.Flush()
}

// word is an enum value as people write it: LINK_STATE_UP of prefix LINK_STATE_ is "up".
func word(value fmt.Stringer, prefix string) string {
	w := strings.ToLower(strings.TrimPrefix(value.String(), prefix))
	if w == "unspecified" {
		return ""
	}
	return w
}

func since(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format(time.RFC3339)
}

func duration(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return round(d.AsDuration())
}

// round shows three or four digits of a duration: more than people read, enough to compare.
func round(d time.Duration) string {
	unit := time.Second
	switch {
	case d < 10*time.Millisecond:
		unit = time.Microsecond
	case d < 10*time.Second:
		unit = time.Millisecond
	}
	return d.Round(unit).String()
}

// bitrate shows bits per second.
func bitrate(bps float64) string {
	for _, u := range []struct {
		least float64
		name  string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if bps >= u.least {
			return fmt.Sprintf("%.3g %s", bps/u.least, u.name)
		}
	}
	return fmt.Sprintf("%.3g bit/s", bps)
}

func drops(all []*api.Drops) string {
	var text []string
	for _, d := range all {
		if d.GetFrames() > 0 {
			text = append(text, fmt.Sprintf("%d %s", d.GetFrames(), d.GetReason()))
		}
	}
	return strings.Join(text, ", ")
}

func list(items []string) string { return strings.Join(items, ", ") }
