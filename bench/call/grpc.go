package call

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shoal-fabric/shoal/bench/plain"
)

const grpcMethod = "/bench.Echo/Echo"

// echoer is the service; a generated interface would say the same.
type echoer interface {
	Echo(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
}

type grpcEcho struct{}

func (grpcEcho) Echo(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return wrapperspb.Bytes(in.Value), nil
}

func grpcService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*echoer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(srv any, ctx context.Context, dec func(any) error,
			_ grpc.UnaryServerInterceptor,
		) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := dec(in); err != nil {
				return nil, err
			}
			return srv.(echoer).Echo(ctx, in)
		}}},
	}
}

func answerGRPC(_ context.Context, s setup) (ready, func(), error) {
	o := []grpc.ServerOption{grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0)))}
	var at ready
	if s.Kind == "grpc-tls" {
		cert, pem, err := plain.Certificate()
		if err != nil {
			return at, nil, err
		}
		at.CA = pem
		o = append(o, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return at, nil, err
	}
	at.Address = l.Addr().String()
	srv := grpc.NewServer(o...)
	srv.RegisterService(grpcService(), grpcEcho{})
	go srv.Serve(l) // until Stop
	return at, srv.Stop, nil
}

func askGRPC(_ context.Context, s setup) (func() (caller, error), func(), error) {
	creds := insecure.NewCredentials()
	if s.At.CA != nil {
		trust, err := plain.Trusting(s.At.CA)
		if err != nil {
			return nil, nil, err
		}
		creds = credentials.NewTLS(trust)
	}
	conn, err := grpc.NewClient(s.At.Address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, nil, err
	}
	return func() (caller, error) {
		return func(ctx context.Context, body []byte) ([]byte, error) {
			out := new(wrapperspb.BytesValue)
			err := conn.Invoke(ctx, grpcMethod, wrapperspb.Bytes(body), out)
			return out.Value, err
		}, nil
	}, func() { conn.Close() }, nil
}
