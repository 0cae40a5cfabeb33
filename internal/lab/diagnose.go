package lab

import (
	"errors"
	"fmt"
	"syscall"
)

// The remedies. Each is a command a user can paste; running the program as root is always the second offer.
const (
	orSudo      = " (or run this command with `sudo -E`)"
	fixMax      = "sudo sysctl -w user.max_user_namespaces=15000" + orSudo
	fixClone    = "sudo sysctl -w kernel.unprivileged_userns_clone=1" + orSudo
	fixAppArmor = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" + orSudo
	fixSeccomp  = "start the container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN --device /dev/net/tun`, or run outside it with `sudo -E`"
	fixProc     = "start the container with `--security-opt systempaths=unconfined`, or run outside it with `sudo -E`"
	fixNoTUN    = "sudo modprobe tun; in a container, start it with `--device /dev/net/tun`" + orSudo
	fixTUN      = "sudo chmod 0666 /dev/net/tun" + orSudo
	fixUnknown  = "run this command with `sudo -E`"
)

// diagnose turns what was observed into the obstacle it means; nil when there is none. It asks nothing itself.
func diagnose(o observations) error {
	if o.StartErr == nil && o.ProbeStep == "" && o.ProbeErr == "" {
		return nil
	}
	if o.StartErr != nil {
		return diagnoseStart(o)
	}
	switch {
	case o.ProbeStep == "tun" && (o.NoTUN || o.ProbeErrno == syscall.ENOENT || o.ProbeErrno == syscall.ENODEV || o.ProbeErrno == syscall.ENXIO):
		return &Obstacle{NoTUN, "the kernel's tun driver is not loaded, or its device is missing", fixNoTUN}
	case o.ProbeStep == "tun":
		return &Obstacle{TUNForbidden, "opening it gave: " + o.ProbeErrno.Error(), fixTUN}
	case o.AppArmorOn && !o.Root:
		return &Obstacle{AppArmor, "a namespace can be made, but without capabilities (kernel.apparmor_restrict_unprivileged_userns=1)", fixAppArmor}
	case o.ProbeStep == "proc":
		return &Obstacle{NamespaceFailed, "a fresh /proc may not be mounted, as in a container that hides parts of it: " + o.ProbeErrno.Error(), fixProc}
	case o.Seccomp:
		return &Obstacle{Seccomp, "a step inside a fresh namespace failed: " + o.ProbeErr, fixSeccomp}
	}
	return &Obstacle{NamespaceFailed, "a step inside a fresh namespace failed: " + o.ProbeErr, fixUnknown}
}

// diagnoseStart explains why no process could be started in fresh namespaces.
func diagnoseStart(o observations) error {
	denied := errors.Is(o.StartErr, syscall.EPERM) || errors.Is(o.StartErr, syscall.EACCES)
	switch {
	case o.MaxUserNS == 0:
		return &Obstacle{NamespacesOff, "user.max_user_namespaces is 0", fixMax}
	case errors.Is(o.StartErr, syscall.ENOSPC) || errors.Is(o.StartErr, syscall.EUSERS):
		return &Obstacle{NamespacesOff, fmt.Sprintf("the limit user.max_user_namespaces (%d) is reached", o.MaxUserNS), fixMax}
	case o.CloneOff && !o.Root && denied:
		return &Obstacle{CloneForbidden, "kernel.unprivileged_userns_clone is 0", fixClone}
	case o.AppArmorOn && !o.Root && denied:
		return &Obstacle{AppArmor, "a namespace can be made, but not used (kernel.apparmor_restrict_unprivileged_userns=1)", fixAppArmor}
	case o.Seccomp && (denied || errors.Is(o.StartErr, syscall.ENOSYS)):
		return &Obstacle{Seccomp, o.StartErr.Error(), fixSeccomp}
	}
	return &Obstacle{NamespaceFailed, o.StartErr.Error(), fixUnknown}
}
