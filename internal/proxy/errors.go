package proxy

import (
	"fmt"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func invalid(format string, args ...any) error {
	return coded(connect.CodeInvalidArgument, format, args)
}
func notFound(format string, args ...any) error {
	return coded(connect.CodeNotFound, format, args)
}
func exists(format string, args ...any) error {
	return coded(connect.CodeAlreadyExists, format, args)
}
func precondition(format string, args ...any) error {
	return coded(connect.CodeFailedPrecondition, format, args)
}
func unavailable(format string, args ...any) error {
	return coded(connect.CodeUnavailable, format, args)
}

func coded(code connect.Code, format string, args []any) error {
	return vnetv1.Errorf(code, "%v", fmt.Errorf(format, args...))
}
