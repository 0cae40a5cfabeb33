package vnetv1

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
)

// Error is how a call of the service fails: a code for programs, a message "cannot …" for people, and what they can do
// about it, which may be empty.
type Error struct {
	Code    connect.Code
	Message string
	Hint    string
}

// Errorf makes an error without a hint.
func Errorf(code connect.Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns the error with what the user can do about it.
func (e *Error) WithHint(format string, args ...any) *Error {
	return &Error{Code: e.Code, Message: e.Message, Hint: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message }

// hintMark separates message and hint in Text.
const hintMark = "\nhint: "

// Text is message and hint in one string, for carriers that have a code and a text only; ErrorOf is its inverse.
func (e *Error) Text() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + hintMark + e.Hint
}

// ErrorOf rebuilds an error from the name of its code, as connect.Code.String gives it, and its Text. An unknown name
// becomes the code unknown.
func ErrorOf(code, text string) *Error {
	e := &Error{Code: connect.CodeUnknown}
	if err := e.Code.UnmarshalText([]byte(code)); err != nil {
		e.Code = connect.CodeUnknown
	}
	e.Message, e.Hint, _ = strings.Cut(text, hintMark)
	return e
}

// AsError finds the Error in err, whether made here or received by a client of the service. An error that carries no code
// becomes unknown, or what the end of its context means. nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		if err.Error() == own.Message {
			return own
		}
		return &Error{Code: own.Code, Message: err.Error(), Hint: own.Hint} // wrapped: keep what the wrapping says
	}
	var remote *connect.Error
	if errors.As(err, &remote) {
		e := &Error{Code: remote.Code(), Message: remote.Message()}
		for _, detail := range remote.Details() {
			value, err := detail.Value()
			if hint, ok := value.(*Hint); err == nil && ok {
				e.Hint = hint.GetText()
			}
		}
		return e
	}
	e := &Error{Code: connect.CodeUnknown, Message: err.Error()}
	switch {
	case errors.Is(err, context.Canceled):
		e.Code = connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		e.Code = connect.CodeDeadlineExceeded
	}
	return e
}

// Connect is the error as a handler of the service returns it, with the hint as detail.
func (e *Error) Connect() *connect.Error {
	out := connect.NewError(e.Code, errors.New(e.Message))
	if e.Hint != "" {
		if detail, err := connect.NewErrorDetail(&Hint{Text: e.Hint}); err == nil {
			out.AddDetail(detail)
		}
	}
	return out
}
