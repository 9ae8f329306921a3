/* /dev/kvm itself: opening it, and saying what to do where that fails. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/kvm_vm.h"

int kvm_open(struct err *e)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        int version = ioctl(fd, KVM_GET_API_VERSION, 0);
        if (version == KVM_API_VERSION)
            return fd;
        close(fd);
        err_set(e, ERR_UNSUPPORTED, "/dev/kvm speaks version %d of its interface, not %d", version,
                KVM_API_VERSION);
        return -1;
    }
    if (errno == EACCES || errno == EPERM)
        err_set(e, ERR_DENIED,
                "/dev/kvm may not be opened: sudo usermod -aG kvm $USER, and log in anew");
    else if (errno == ENOENT)
        err_set(e, ERR_NOT_FOUND,
                "there is no /dev/kvm: sudo modprobe -a kvm_intel kvm_amd, or, in a container, "
                "start it with --device /dev/kvm");
    else
        err_set(e, ERR_UNSUPPORTED, "/dev/kvm can't be opened: %s", strerror(errno));
    return -1;
}

bool kvm_emulates(void)
{
    unsigned a, b, c, d;
    bool vmx = __get_cpuid(1, &a, &b, &c, &d) && (c >> 5 & 1);
    bool svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 2 & 1);
    return !vmx && !svm;
}
