"""The 1,797 hand-written 8×8 digits that scikit-learn carries: real data without a download."""

import torch

from landscape.data.examples import Data, InMemory


def digits() -> Data:
    """8×8 hand-written digits in 10 classes: 1,437 for training, 360 for testing.

    The split is stratified and always the same. Pixels are standardised with the mean and the standard
    deviation of the training set, one number each.

    Reference:
        Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test set).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
    train, test, train_labels, test_labels = (torch.from_numpy(part) for part in split)
    mean, std = train.mean(), train.std(correction=0)
    train, test = (((part - mean) / std).float().reshape(-1, 1, 8, 8) for part in (train, test))
    return Data(
        "digits",
        InMemory(train, train_labels, name="digits"),
        InMemory(test, test_labels, name="digits"),
        classes=10,
        input_shape=(1, 8, 8),
    )
