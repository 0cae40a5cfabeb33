package control

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// ChangeEvent is what can happen to a Change: Start, Reply, NodeLost, NodeBack or Tick.
type ChangeEvent interface{ changeEvent() }

// ChangeEffect is what a Change wants done: Send, Committed or Done.
type ChangeEffect interface{ changeEffect() }

type (
	// Start begins the change.
	Start struct{}
	// Reply is a node's answer.
	Reply struct {
		Node overlay.Name
		StageReply
	}
	// NodeLost says that a node's control stream is gone.
	NodeLost struct{ Node overlay.Name }
	// NodeBack says that a node's control stream is there again, whether or not the node has restarted.
	NodeBack struct{ Node overlay.Name }
	// Tick says that NextTime has come. Coming too early is harmless.
	Tick struct{}

	// Send asks to send a request on a node's control stream. Requests to one node must keep their order.
	Send struct {
		Node    overlay.Name
		Request StageRequest
	}
	// Committed says that the sources have flipped: the new topology carries the traffic.
	Committed struct {
		Change  uint64
		Took    time.Duration  // since Start: the configuration time
		Missing []overlay.Name // nodes not known to have flipped
	}
	// Done is the last effect of a change.
	Done struct{ Result Result }
)

func (Start) changeEvent()    {}
func (Reply) changeEvent()    {}
func (NodeLost) changeEvent() {}
func (NodeBack) changeEvent() {}
func (Tick) changeEvent()     {}

func (Send) changeEffect()      {}
func (Committed) changeEffect() {}
func (Done) changeEffect()      {}

// PreparedEvent is what can happen to a Prepared: Asked, LinkProved, LinkTrouble, LinkFailed, RulesEdited, ProxyLost, ProxyBack or Tick.
type PreparedEvent interface{ preparedEvent() }

// PreparedEffect is what a Prepared wants done: OpenLink, EditRules, CloseLink or Respond.
type PreparedEffect interface{ preparedEffect() }

type (
	// Asked says that a request came from the Proxy.
	Asked struct{ StageRequest }
	// LinkProved says that a link asked for by OpenLink stands and carried a frame of full size both ways.
	LinkProved struct {
		Peer    overlay.Name
		Existed bool // it stood before OpenLink: it is not closed when the change is taken back
	}
	// LinkTrouble says what stands in the way of a link asked for by OpenLink that is still being tried.
	LinkTrouble struct {
		Peer  overlay.Name
		Error string
	}
	// LinkFailed says that a link asked for by OpenLink could not be opened or proven. After LinkProved it is ignored: a
	// link that dies later is the data plane's business.
	LinkFailed struct {
		Peer  overlay.Name
		Error string
	}
	// RulesEdited answers every EditRules whose Stage is not StageAbort.
	RulesEdited struct {
		Change  uint64
		Stage   Stage
		Removed []overlay.Rule // the rules that were deleted, whole, so that a flip can be taken back
		Error   string         // nothing was changed
	}
	// ProxyLost says that the control stream to the Proxy is gone. Prepared state does not expire meanwhile: others may
	// have flipped, and the data plane outlives the control plane.
	ProxyLost struct{}
	// ProxyBack says that it is there again; prepared state has its full time once more.
	ProxyBack struct{}

	// OpenLink asks for a link, to be opened and proven; answered by LinkProved or LinkFailed. A link to that peer that
	// stands already answers LinkProved at once.
	OpenLink struct {
		Change uint64
		LinkSpec
	}
	// EditRules asks to add and delete rules in one publication of the table; deleting a rule that is not there is no
	// error, adding one whose ID is there replaces it. With StageAbort it takes back what this change did and is not answered.
	EditRules struct {
		Change uint64
		Stage  Stage
		Add    []overlay.Rule
		Delete []uint64
	}
	// CloseLink asks to close a link, or to stop opening it.
	CloseLink struct {
		Change uint64
		Peer   overlay.Name
		Reason string
	}
	// Respond asks to send a reply to the Proxy.
	Respond struct{ StageReply }
)

func (Asked) preparedEvent()       {}
func (LinkProved) preparedEvent()  {}
func (LinkTrouble) preparedEvent() {}
func (LinkFailed) preparedEvent()  {}
func (RulesEdited) preparedEvent() {}
func (ProxyLost) preparedEvent()   {}
func (ProxyBack) preparedEvent()   {}
func (Tick) preparedEvent()        {}

func (OpenLink) preparedEffect()  {}
func (EditRules) preparedEffect() {}
func (CloseLink) preparedEffect() {}
func (Respond) preparedEffect()   {}
