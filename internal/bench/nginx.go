package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrNoNginx says that there is nothing to compare with.
var ErrNoNginx = errors.New("nginx with its RTMP module is not installed (Debian: apt-get install libnginx-mod-rtmp)")

// nginxModules are the places of the module: Debian's, and where a build of nginx installs it.
func nginxModules() []string {
	return []string{"/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/local/nginx/modules/ngx_rtmp_module.so"}
}

// nginxConfig has one process, and what the module does by default.
const nginxConfig = `load_module %s;
daemon off;
master_process off;
pid %s/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
rtmp { server { listen %s; application live { live on; } } }
`

// findNginx returns program and module.
func findNginx() (program, module string, err error) {
	program, err = exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
	}
	for _, module := range nginxModules() {
		if _, err := os.Stat(module); err != nil {
			continue
		}
		if _, err := os.Stat(program); err == nil {
			return program, module, nil
		}
	}
	return "", "", ErrNoNginx
}

// openNginx starts nginx with the same publisher as a server has.
func (e *env) openNginx(ctx context.Context) (*scene, error) {
	p, err := e.startNginx(ctx, func(module, dir, addr string) []byte {
		return fmt.Appendf(nil, nginxConfig, module, dir, addr)
	})
	if err != nil {
		return nil, err
	}
	return openStream(ctx, p, publishArgs{URL: protoRTMP.url(p.rtmp), Bitrate: e.bitrate})
}

// startNginx starts nginx with a configuration for the given module, directory and address. The address is that of the
// process's RTMP, whatever it speaks.
func (e *env) startNginx(ctx context.Context, config func(module, dir, addr string) []byte) (*process, error) {
	program, module, err := findNginx()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(e.dir, "nginx-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, config(module, dir, addr), 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p := newProcess(ctx, []string{program, "-p", dir, "-c", file, "-e", "stderr"}, dir, os.Environ())
	p.rtmp = addr
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.awaitPort(ctx); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// freeAddress returns one that nobody listens at: nginx does not choose a port itself.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitPort waits until somebody can connect.
func (p *process) awaitPort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.rtmp)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w: it ended: %w\n%s", ErrServer, p.err, p.log)
		default:
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("%w: %w\n%s", ErrServer, err, p.log)
		}
	}
}
