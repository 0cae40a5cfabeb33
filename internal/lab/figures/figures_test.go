package figures

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"testing"
)

// The knee follows Nyquist: below it every change is reported, well beyond it fewer are than at the knee.
func TestTheKneeFollowsTheWindow(t *testing.T) {
	for _, line := range Damping(true, true).Lines {
		knee, best := line.Marks[0], 0.0
		for _, p := range line.Points {
			if best = max(best, p.Y); p.X < 0.6*knee && math.Abs(p.Y/p.X-1) > 0.4 {
				t.Errorf("%s: of %.3g changes/s %.3g are reported, before the knee at %.3g", line.Name, p.X, p.Y, knee)
			}
			if p.X > 3*knee && p.Y > 0.5*best {
				t.Errorf("%s: at %.3g changes/s still %.3g are reported, far beyond the knee at %.3g", line.Name, p.X, p.Y, knee)
			}
		}
	}
}

func TestManyThresholdsDo(t *testing.T) {
	for _, seed := range []bool{true, false} {
		f := Threshold(seed, true)
		for _, line := range f.Lines {
			for _, p := range line.Points {
				if p.X > 0.05 && p.X < 0.4 && p.Y < 1 {
					t.Errorf("%s, %s: at threshold %.3g only %.0f %% are exact", f.Name, line.Name, p.X, 100*p.Y)
				}
			}
		}
	}
}

func TestAPictureIsXML(t *testing.T) {
	var out bytes.Buffer
	if err := Damping(false, true).SVG(&out); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&out)
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
