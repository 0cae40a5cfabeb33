package vnetv1

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"
)

func TestErrorsSurviveEachCarrier(t *testing.T) {
	plain := Errorf(connect.CodeNotFound, "cannot find link %q", "host9")
	hinted := plain.WithHint("see: vnet links")
	for _, e := range []*Error{plain, hinted} {
		if got := ErrorOf(e.Code.String(), e.Text()); *got != *e {
			t.Errorf("through code and text: %+v, want %+v", got, e)
		}
		if got := AsError(e.Connect()); *got != *e {
			t.Errorf("through connect: %+v, want %+v", got, e)
		}
	}
}

func TestAsError(t *testing.T) {
	inner := Errorf(connect.CodeNotFound, "no such link").WithHint("look")
	tests := []struct {
		err  error
		want Error
	}{
		{inner, *inner},
		{fmt.Errorf("cannot delete: %w", inner), Error{connect.CodeNotFound, "cannot delete: no such link", "look"}},
		{errors.New("odd"), Error{Code: connect.CodeUnknown, Message: "odd"}},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), Error{Code: connect.CodeDeadlineExceeded, Message: "asking: context deadline exceeded"}},
		{context.Canceled, Error{Code: connect.CodeCanceled, Message: "context canceled"}},
	}
	for _, tt := range tests {
		if got := AsError(tt.err); *got != tt.want {
			t.Errorf("AsError(%v) = %+v, want %+v", tt.err, *got, tt.want)
		}
	}
	if AsError(nil) != nil {
		t.Error("no error became one")
	}
	if got := ErrorOf("no such code", "x"); got.Code != connect.CodeUnknown {
		t.Errorf("an unknown code became %v", got.Code)
	}
}
