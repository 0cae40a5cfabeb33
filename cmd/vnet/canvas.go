package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/demo"
)

const (
	canvasWidth, canvasHeight = 61, 17 // characters; one is about twice as high as wide

	green, dim, plainText = "\x1b[32;1m", "\x1b[2m", "\x1b[0m"
)

// canvas is a grid of characters, each with a colour.
type canvas struct {
	text   [canvasHeight][canvasWidth]rune
	colour [canvasHeight][canvasWidth]string
}

// drawOverlay draws the hosts in a circle around the Proxy: the star with dots, fast paths as lines.
func drawOverlay(s demo.Snapshot, colour bool) []string {
	var c canvas
	cx, cy := canvasWidth/2, canvasHeight/2
	at := map[string][2]int{}
	for i := range s.VMs {
		angle := 2*math.Pi*float64(i)/float64(s.VMs) - math.Pi/2
		x := cx + int(math.Round(math.Cos(angle)*float64(cx-6)))
		y := cy + int(math.Round(math.Sin(angle)*float64(cy-1)))
		at[fmt.Sprintf("host%d", i+1)] = [2]int{x, y}
	}
	for _, p := range at {
		c.line(cx, cy, p[0], p[1], '·', dim)
	}
	for _, l := range s.Links {
		a, b := at[l[0]], at[l[1]]
		c.line(a[0], a[1], b[0], b[1], '●', green)
	}
	for i := range s.VMs {
		p := at[fmt.Sprintf("host%d", i+1)]
		c.label(p[0], p[1], fmt.Sprintf("[vm%d]", i+1))
	}
	c.label(cx, cy, "[Proxy]")
	return c.lines(colour)
}

// line puts ch on the cells between two points (Bresenham's algorithm).
func (c *canvas) line(x0, y0, x1, y1 int, ch rune, colour string) {
	dx, dy := abs(x1-x0), -abs(y1-y0)
	sx, sy := sign(x1-x0), sign(y1-y0)
	for err := dx + dy; ; {
		c.put(x0, y0, ch, colour)
		if x0 == x1 && y0 == y1 {
			return
		}
		twice := 2 * err
		if twice >= dy {
			err += dy
			x0 += sx
		}
		if twice <= dx {
			err += dx
			y0 += sy
		}
	}
}

func (c *canvas) label(x, y int, text string) {
	for i, ch := range []rune(text) {
		c.put(x-len([]rune(text))/2+i, y, ch, plainText)
	}
}

func (c *canvas) put(x, y int, ch rune, colour string) {
	if x >= 0 && y >= 0 && x < canvasWidth && y < canvasHeight {
		c.text[y][x], c.colour[y][x] = ch, colour
	}
}

func (c *canvas) lines(colour bool) []string {
	var out []string
	for y := range c.text {
		var b strings.Builder
		now := ""
		for x, ch := range c.text[y] {
			if ch == 0 {
				ch = ' '
			}
			if want := c.colour[y][x]; colour && want != now {
				b.WriteString(want)
				now = want
			}
			b.WriteRune(ch)
		}
		if colour && now != "" {
			b.WriteString(plainText)
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return slices.Clip(out)
}

func abs(n int) int { return max(n, -n) }

func sign(n int) int {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}
