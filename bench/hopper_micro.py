"""Throughput of exponentials a clock a SM on the GPU, per form."""
import ctypes, sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hopper_dev as dev, hopper_gpu as g
FORMS = {
    "f32": 'asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(x[i]));',
    "f16x2": 'asm volatile("ex2.approx.f16x2 %0, %0;" : "+r"(y[i]));',
    "bf16x2": 'asm volatile("ex2.approx.ftz.bf16x2 %0, %0;" : "+r"(y[i]));',
    "f16": 'asm volatile("ex2.approx.f16 %0, %0;" : "+h"(z[i]));',
    "tanh f16x2": 'asm volatile("tanh.approx.f16x2 %0, %0;" : "+r"(y[i]));',
    "f32+cvt f16x2": 'asm volatile("cvt.rn.f16x2.f32 %0, %1, %1;" : "=r"(y[i]) : "f"(x[i])); ',
}
if __name__ == "__main__":
    gpu = g.Gpu(); torch = gpu.torch; lib = dev.nvrtc()
    out = torch.zeros(132 * 512, device="cuda"); clocks = torch.zeros(132, dtype=torch.int64, device="cuda")
    for name, text in FORMS.items():
        src = ('extern "C" __global__ void k(float* out, long long* clocks) { float x[8]; unsigned y[8]; unsigned short z[8];\n'
               'for (int i = 0; i < 8; ++i) { x[i] = threadIdx.x * 0.001f + i; y[i] = threadIdx.x + i; z[i] = threadIdx.x + i; }\n'
               '__syncthreads(); long long t = clock64();\n#pragma unroll 4\nfor (int r = 0; r < 256; ++r) {\n#pragma unroll\nfor (int i = 0; i < 8; ++i) { ' + text + ' } }\n'
               '__syncthreads(); t = clock64() - t; float s = 0; for (int i = 0; i < 8; ++i) s += x[i] + y[i] + z[i]; out[blockIdx.x * blockDim.x + threadIdx.x] = s;\n'
               'if (threadIdx.x == 0) clocks[blockIdx.x] = t; }').encode()
        prog = ctypes.c_void_p(); lib.nvrtcCreateProgram(ctypes.byref(prog), src, b"m.cu", 0, None, None)
        arr = (ctypes.c_char_p * 1)(b"--gpu-architecture=sm_90a"); rc = lib.nvrtcCompileProgram(prog, 1, arr)
        if rc: print(name, "compile error"); continue
        size = ctypes.c_size_t(); lib.nvrtcGetCUBINSize(prog, ctypes.byref(size)); buf = ctypes.create_string_buffer(size.value); lib.nvrtcGetCUBIN(prog, buf)
        m, f = ctypes.c_void_p(), ctypes.c_void_p()
        gpu.call("cuModuleLoadData", ctypes.byref(m), buf.raw); gpu.call("cuModuleGetFunction", ctypes.byref(f), m, b"k")
        a, b = ctypes.c_uint64(out.data_ptr()), ctypes.c_uint64(clocks.data_ptr())
        args = (ctypes.c_void_p * 2)(ctypes.addressof(a), ctypes.addressof(b))
        for _ in range(2): gpu.call("cuLaunchKernel", f, 132, 1, 1, 512, 1, 1, 0, None, args, None)
        torch.cuda.synchronize()
        print(name, "instructions-lanes a clock a SM", 512 * 256 * 8 / clocks.float().median().item(), flush=True)
    os._exit(0)
