package lab

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// scalar reads one value with convert; the error says where it stands and what is allowed.
func scalar[T any](p *parser, into *T, convert func(string) (T, error)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			p.fail(n, "want a single value here")
			return
		}
		v, err := convert(n.Value)
		if err != nil {
			p.fail(n, "%v", err)
			return
		}
		*into = v
	}
}

func (p *parser) text(into *string) func(*yaml.Node) {
	return scalar(p, into, func(s string) (string, error) { return s, nil })
}

func (p *parser) number(into *int) func(*yaml.Node) {
	return scalar(p, into, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%q is not a whole number", s)
		}
		return n, nil
	})
}

func (p *parser) truth(into *bool) func(*yaml.Node) {
	return scalar(p, into, func(s string) (bool, error) {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, fmt.Errorf("%q: want true or false", s)
	})
}

func (p *parser) duration(into *time.Duration) func(*yaml.Node) {
	return scalar(p, into, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is not a duration such as 2.5ms or 1s", s)
		}
		return d, nil
	})
}

func (p *parser) rate(into *int64) func(*yaml.Node) { return scalar(p, into, parseRate) }

// parseRate reads a rate in bits a second, such as 100Mbit or 1.5Gbit (decimal units).
func parseRate(s string) (int64, error) {
	low := strings.ToLower(strings.TrimSpace(s))
	low = strings.TrimSuffix(low, "/s")
	number, ok := strings.CutSuffix(low, "bit")
	unit := 1.0
	if ok && number != "" {
		switch number[len(number)-1] {
		case 'k':
			unit = 1e3
		case 'm':
			unit = 1e6
		case 'g':
			unit = 1e9
		}
		if unit > 1 {
			number = number[:len(number)-1]
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || err != nil || !(v > 0) || v*unit > math.MaxInt64/16 {
		return 0, fmt.Errorf("%q is not a rate such as 100Mbit, 1.5Gbit or 64kbit", s)
	}
	return int64(math.Round(v * unit)), nil
}

// share reads a probability: 0.01 or 1%.
func (p *parser) share(into *float64) func(*yaml.Node) {
	return scalar(p, into, func(s string) (float64, error) {
		number, percent := strings.CutSuffix(s, "%")
		v, err := strconv.ParseFloat(number, 64)
		if percent {
			v /= 100
		}
		if err != nil || !(v >= 0 && v <= 1) {
			return 0, fmt.Errorf("%q is not a share such as 1%% or 0.01", s)
		}
		return v, nil
	})
}

func (p *parser) prefix(into *netip.Prefix) func(*yaml.Node) {
	return scalar(p, into, func(s string) (netip.Prefix, error) {
		pre, err := netip.ParsePrefix(s)
		if err != nil || !pre.Addr().Is4() {
			return netip.Prefix{}, fmt.Errorf("%q is not an IPv4 address with its prefix length, such as 10.1.0.5/24", s)
		}
		return pre, nil
	})
}

func (p *parser) address(into *netip.Prefix) func(*yaml.Node) {
	prefix := p.prefix(into)
	return func(n *yaml.Node) {
		if n.Value == "none" {
			*into = AddressNone()
			return
		}
		prefix(n)
	}
}

func (p *parser) mac(into *ether.MAC) func(*yaml.Node) {
	return scalar(p, into, ether.ParseMAC)
}
