package proxy

import (
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// keyWill is where the record keeps what the user asks of adaptation, and the VMs that the user named.
const keyWill = "will"

// live is the overlay as a file is compared with it.
func (h *hub) live() lang.Live { return h.liveOf(h.record) }

func (h *hub) liveOf(o *overlay.Overlay) lang.Live {
	l := lang.Live{Overlay: o, Will: h.will.Clone(), VMs: h.named}
	l.Will.Mode = h.settings.Mode.String()
	most := h.settings.MaxLinks
	l.Will.MaxLinks = &most
	return l
}

// setWill takes the user's wishes that need no stage: they count from the next plan of adaptation on.
func (h *hub) setWill(now time.Time, w overlay.Will, vms []lang.VM) error {
	settings := h.settings
	if w.Mode != "" {
		mode, err := adapt.ParseMode(w.Mode)
		if err != nil {
			return err
		}
		settings.Mode = mode
	}
	if w.MaxLinks != nil {
		settings.MaxLinks = *w.MaxLinks
	}
	if settings != h.settings {
		h.settings = settings
		h.configure()
		h.put(keySettings, settings)
	}
	w.Mode, w.MaxLinks = "", nil
	before := h.named
	h.limit(w.Ports)
	h.will, h.named = w.Clone(), vms
	h.saveWill()
	h.tellLimits()
	h.declare(now, before)
	h.p.sealAgain(h.hostsHere()...)
	return nil
}

// limit has claims to addresses judged by what the user says of ports.
func (h *hub) limit(limits []overlay.PortLimit) { h.spread(h.places.Limit(limits)) }

// tellLimits tells every node what its ports let in.
func (h *hub) tellLimits() {
	h.tell(h.record.Proxy, h.tune(h.record.Proxy))
	for name, at := range h.hosts {
		if at.session != nil {
			h.tell(name, h.tune(name))
		}
	}
}

// declare tells everybody where the user says that VMs are, and what they are called.
func (h *hub) declare(now time.Time, before []lang.VM) {
	said := map[ether.MAC]bool{}
	for _, v := range h.named {
		if v.Node != "" {
			said[v.MAC] = true
			h.spread(h.places.Declare(now, control.Place{MAC: v.MAC, Node: v.Node, Port: v.Port, Declared: true}))
		}
	}
	for _, v := range before {
		if v.Node != "" && !said[v.MAC] {
			h.spread(h.places.Undeclare(now, v.MAC))
		}
	}
	for mac, vm := range h.record.VMs {
		if place, ok := h.places.Place(mac); ok {
			vm.Name = h.vmName(place)
			h.record.VMs[mac] = vm
		}
	}
}

// saveWill writes the user's wishes down as lines of the language, which outlive changes of layout.
func (h *hub) saveWill() {
	m := &lang.Meaning{VMs: h.named}
	m.PutWill(h.will, nil)
	h.put(keyWill, string(lang.Format(lang.Describe(m))))
}

func (h *hub) restoreWill() error {
	var text string
	if ok, err := h.get(keyWill, &text); err != nil || !ok {
		return err
	}
	f, err := lang.Parse("the Proxy's record of the user's will", []byte(text))
	if err != nil {
		return fmt.Errorf("cannot read the record: %w", err)
	}
	m := f.Meaning()
	h.will, h.named = m.Will(), m.VMs
	h.limit(h.will.Ports)
	return nil
}

// userName is what the user calls a VM.
func (h *hub) userName(mac ether.MAC) string {
	for _, v := range h.named {
		if v.MAC == mac {
			return v.Name
		}
	}
	return ""
}
