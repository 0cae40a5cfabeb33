package node

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/virtuoso-vnet/virtuoso/api/control/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Ready is the first message of whoever dialled a link that is not a star
// link: from now on it delivers what arrives there.
type Ready struct {
	Trust uint64 // as in control.Hello
}

// TrustList is a signed list (pki.List) for a neighbour that has an older one.
type TrustList []byte

// Encode makes the bytes of one control message: a struct of package control,
// a vttif.Report, an Event, or Ready.
func Encode(message any) ([]byte, error) {
	e := &controlv1.Envelope{}
	switch m := message.(type) {
	case control.Hello:
		e.Body = &controlv1.Envelope_Hello{Hello: helloOut(m)}
	case control.Welcome:
		e.Body = &controlv1.Envelope_Welcome{Welcome: welcomeOut(m)}
	case control.Tune:
		e.Body = &controlv1.Envelope_Tune{Tune: tuneOut(m)}
	case control.Announce:
		e.Body = &controlv1.Envelope_Announce{Announce: announceOut(m)}
	case control.Directory:
		e.Body = &controlv1.Envelope_Directory{Directory: directoryOut(m)}
	case control.StageRequest:
		e.Body = &controlv1.Envelope_StageRequest{StageRequest: stageOut(m)}
	case control.StageReply:
		e.Body = &controlv1.Envelope_StageReply{StageReply: replyOut(m)}
	case control.Call:
		e.Body = &controlv1.Envelope_Call{Call: &controlv1.Call{Id: m.ID, Node: string(m.Node), Method: m.Method, Body: m.Body}}
	case control.Answer:
		e.Body = &controlv1.Envelope_Answer{Answer: &controlv1.Answer{Id: m.ID, Body: m.Body, Code: m.Code, Error: m.Error}}
	case vttif.Report:
		e.Body = &controlv1.Envelope_Traffic{Traffic: trafficOut(m)}
	case Event:
		e.Body = &controlv1.Envelope_Event{Event: &controlv1.Event{TimeUs: m.Time.UnixMicro(), Kind: m.Kind, Text: m.Text, Fields: m.Fields}}
	case Ready:
		e.Body = &controlv1.Envelope_Ready{Ready: &controlv1.Ready{Trust: m.Trust}}
	case TrustList:
		e.Body = &controlv1.Envelope_TrustList{TrustList: m}
	default:
		return nil, fmt.Errorf("cannot send a %T: it is no control message", message)
	}
	return proto.Marshal(e)
}

// Decode reads one control message. Its sender is authenticated but not
// trusted: every name, address and number is checked here.
func Decode(data []byte) (any, error) {
	if err := count(data); err != nil {
		return nil, fmt.Errorf("cannot take control message: %w", err)
	}
	e := &controlv1.Envelope{}
	if err := proto.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("cannot read control message: %v", err)
	}
	switch b := e.Body.(type) {
	case *controlv1.Envelope_Hello:
		return helloIn(b.Hello)
	case *controlv1.Envelope_Welcome:
		return welcomeIn(b.Welcome)
	case *controlv1.Envelope_Tune:
		return tuneIn(b.Tune)
	case *controlv1.Envelope_Announce:
		return announceIn(b.Announce)
	case *controlv1.Envelope_Directory:
		return directoryIn(b.Directory)
	case *controlv1.Envelope_StageRequest:
		return stageIn(b.StageRequest)
	case *controlv1.Envelope_StageReply:
		return replyIn(b.StageReply)
	case *controlv1.Envelope_Call:
		return callIn(b.Call)
	case *controlv1.Envelope_Answer:
		return control.Answer{ID: b.Answer.GetId(), Body: b.Answer.GetBody(), Code: printable(b.Answer.GetCode(), maxEventKind), Error: printable(b.Answer.GetError(), maxAnswerText)}, nil
	case *controlv1.Envelope_Traffic:
		return trafficIn(b.Traffic)
	case *controlv1.Envelope_Event:
		return eventIn(b.Event), nil
	case *controlv1.Envelope_Ready:
		return Ready{Trust: b.Ready.GetTrust()}, nil
	case *controlv1.Envelope_TrustList:
		if len(b.TrustList) > maxTrustList {
			return nil, fmt.Errorf("cannot take a list of revoked keys of %d bytes: at most %d are allowed", len(b.TrustList), maxTrustList)
		}
		return TrustList(b.TrustList), nil
	}
	return nil, fmt.Errorf("cannot use control message: its kind is unknown to version %s; upgrade the older of the two", Version)
}
