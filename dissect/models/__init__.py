"""Networks to dissect: the architectures, and loaders for published weights of generators and classifiers."""

from dissect.models.alexnet import AlexNet
from dissect.models.classifiers import CLASSIFIERS, VGG16, Preprocessing, load_classifier
from dissect.models.densenet import DenseNet
from dissect.models.discriminator import Discriminator
from dissect.models.efficientnet import EfficientNetLite0
from dissect.models.inception import GoogLeNet
from dissect.models.latent import latents, noise_seeds
from dissect.models.progan import PROGAN_VARIANTS, ProGAN, load_progan, progan_channels
from dissect.models.resnet import RESNETS, ResNet
from dissect.models.sparse_encoder import SparseEncoder, load_sparse_encoder
from dissect.models.squeezenet import SqueezeNet
from dissect.models.stylegan import StyleGAN, stylegan_channels
from dissect.models.stylegan2 import StyleGAN2, stylegan2_channels
from dissect.models.stylegan2_files import load_stylegan2, stylegan2_checkpoint
from dissect.models.stylegan_files import load_stylegan
from dissect.models.unet import UNet
from dissect.models.upp import UPP, UppLabels, load_upp
from dissect.models.vgg import VGG
from dissect.models.wgangp import WGANGP, load_wgangp

__all__ = [
    "CLASSIFIERS",
    "PROGAN_VARIANTS",
    "RESNETS",
    "UPP",
    "VGG",
    "VGG16",
    "WGANGP",
    "AlexNet",
    "DenseNet",
    "Discriminator",
    "EfficientNetLite0",
    "GoogLeNet",
    "Preprocessing",
    "ProGAN",
    "ResNet",
    "SparseEncoder",
    "SqueezeNet",
    "StyleGAN",
    "StyleGAN2",
    "UNet",
    "UppLabels",
    "latents",
    "load_classifier",
    "load_progan",
    "load_sparse_encoder",
    "load_stylegan",
    "load_stylegan2",
    "load_upp",
    "load_wgangp",
    "noise_seeds",
    "progan_channels",
    "stylegan2_channels",
    "stylegan2_checkpoint",
    "stylegan_channels",
]
